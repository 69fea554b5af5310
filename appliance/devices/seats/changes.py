"""Every change of seats that people make, in one place, with one order of locks.

Enters: a connection, a change and its context. Leaves: the device as it is now, with its audit row in the same
transaction. Never: a write to ``active_device_count``, which follows from the device rows by triggers.

The order, each step a statement of its own under READ COMMITTED: all subscription rows of the tenant by id, then device
rows by id (``appliance.subscriptions.rows`` says why; provisioning takes advisory locks of the devices before).
Functions take a connection in autocommit and make a transaction, or make a savepoint in the transaction it is in; then
nothing else of the tenant's may have been locked there before. The role may be ``appliance_web`` with its tenant set.

Expected failures are NotFound (also for another tenant's and for deleted devices), Conflict and NoCapacity.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import errors

from appliance.db import statements
from appliance.db.audit import Actor, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import TRANSITIONS, Device, DeviceStatus, Event, NewDevice, device_fault
from appliance.devices.seats.allocator import SeatAllocator
from appliance.errors import Conflict, Invalid, NoCapacity
from appliance.subscriptions import rows
from appliance.subscriptions.lifecycle import Subscription

STATEMENTS = statements.load("seats")

LIMIT_CONSTRAINT = "subscriptions_seats_within_limit"
"""The CHECK of the database that no code can pass."""
DELETE_ROWS = 1000
"""Devices in one statement, so that the event loop has its turn in between."""


@dataclass(frozen=True, slots=True)
class SeatRequest:
    """A seat that a device is to take, and ``grace``: how long a paid subscription gives seats after its term."""

    subscription_id: str | None
    """None: of the preferred subscription."""
    grace: timedelta


async def create(
    connection: Connection[Any], tenant_id: str, new: NewDevice, context: ChangeContext, *, grace: timedelta
) -> Device:
    """Register a device and give it a seat; a deleted one comes back.

    Raises Invalid for what no device can be; Conflict when it is there; NotFound for the tenant or the subscription;
    NoCapacity.
    """
    fault = device_fault(new)
    if fault is not None:
        raise Invalid(f"Device {new.device_id!r}: {fault.words}.", fault.field)
    async with changing_seats(connection, tenant_id) as subscriptions:
        allocator = SeatAllocator(subscriptions, context.settled, grace=grace)
        existing = await lock_devices(connection, tenant_id, [new.device_id])
        before = existing.get(new.device_id)
        if before is not None and (before.status, Event.CREATE) not in TRANSITIONS:
            raise _exists(before)
        made = await put(connection, tenant_id, [(new, allocator.take(new.subscription_id))], now=context.now)
        if not made:
            raise Conflict(_not_made(before, new.device_id))
        await record(connection, entry(context.actor, Event.CREATE, None, made[0]), now=context.now)
    return made[0]


async def approve(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    context: ChangeContext,
    subscription_id: str | None = None,
    *,
    grace: timedelta,
) -> Device:
    """Give a PENDING device a seat, of ``subscription_id`` or of the preferred subscription."""
    seat = SeatRequest(subscription_id, grace)
    return await _change(connection, tenant_id, device_id, Event.APPROVE, context, seat)


async def reject(connection: Connection[Any], tenant_id: str, device_id: str, context: ChangeContext) -> Device:
    """Reject a PENDING device for good: it is REVOKED."""
    return await _change(connection, tenant_id, device_id, Event.REJECT, context)


async def deactivate(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    context: ChangeContext,
    *,
    revoke_credential: bool = False,
) -> Device:
    """Take the seat of an ACTIVE device; its messages are held from now on, unless its credential is revoked too."""
    async with connection.transaction():
        device = await _change(connection, tenant_id, device_id, Event.DEACTIVATE, context)
        if revoke_credential and await _remove_credential(connection, tenant_id, device_id):
            revoked = Entry(context.actor, "credential.revoke", "device", device_id, tenant_id)
            await record(connection, revoked, now=context.now)
    return device


async def stop(
    connection: Connection[Any], tenant_id: str, devices: Collection[Device], context: ChangeContext
) -> None:
    """Deactivate ACTIVE devices, which the caller has locked as :func:`changing_seats` says, and revoke credentials.

    A renewal names the devices that lose their seats. Each gets the audit rows of a single deactivation.
    """
    parameters = {
        "tenant": tenant_id,
        "devices": [device.device_id for device in devices],
        "statuses": [DeviceStatus.INACTIVE.value] * len(devices),
        "subscriptions": [None] * len(devices),
        "now": context.now,
    }
    cursor = await connection.execute(STATEMENTS["set_statuses"], parameters)
    after = {device.device_id: device for device in map(device_of, await cursor.fetchall())}
    cursor = await connection.execute(STATEMENTS["remove_credentials"], parameters)
    revoked = {device_id for (device_id,) in await cursor.fetchall()}
    entries = []
    for before in sorted(devices, key=lambda device: device.device_id):
        device_id = before.device_id
        entries.append(entry(context.actor, Event.DEACTIVATE, before, after[device_id]))
        if device_id in revoked:
            entries.append(Entry(context.actor, "credential.revoke", "device", device_id, tenant_id))
    await record(connection, *entries, now=context.now)


async def reactivate(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    context: ChangeContext,
    subscription_id: str | None = None,
    *,
    grace: timedelta,
) -> Device:
    """Give an INACTIVE or REVOKED device a seat again. A revoked credential stays revoked."""
    seat = SeatRequest(subscription_id, grace)
    return await _change(connection, tenant_id, device_id, Event.REACTIVATE, context, seat)


async def move(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    subscription_id: str,
    context: ChangeContext,
    *,
    grace: timedelta,
) -> Device:
    """Give an ACTIVE device a seat of another subscription for the one it has; of its own, nothing happens."""
    seat = SeatRequest(subscription_id, grace)
    return await _change(connection, tenant_id, device_id, Event.MOVE, context, seat)


async def revoke(connection: Connection[Any], tenant_id: str, device_id: str, context: ChangeContext) -> Device:
    """Revoke a device: it loses its seat and its credential; its messages are refused and not held."""
    async with connection.transaction():
        device = await _change(connection, tenant_id, device_id, Event.REVOKE, context)
        await _remove_credential(connection, tenant_id, device_id)
    return device


async def delete(
    connection: Connection[Any], tenant_id: str, device_id: str, context: ChangeContext, *, keep_history: bool
) -> Device:
    """Delete a device: its seat and credential go, a tombstone stays.

    Without ``keep_history`` its readings are marked for erasure, which ``appliance.devices.erasure`` does in slices:
    within this transaction it would hold the tenant's subscriptions locked for as long as it takes.
    """
    async with connection.transaction():
        device = await _change(connection, tenant_id, device_id, Event.DELETE, context)
        await _remove_credential(connection, tenant_id, device_id)
        if not keep_history:
            cursor = await connection.execute(
                STATEMENTS["mark_for_erasure"], {"tenant": tenant_id, "device": device_id}
            )
            require_rows(cursor.rowcount, f"device {device_id}")
    return device


async def _change(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    event: Event,
    context: ChangeContext,
    wanted: SeatRequest | None = None,
) -> Device:
    """Take one step of the table of transitions, with its audit row; ``wanted`` is the seat of a step to ACTIVE."""
    async with changing_seats(connection, tenant_id) as subscriptions:
        before = (await lock_devices(connection, tenant_id, [device_id])).get(device_id)
        present = before is not None and before.status is not DeviceStatus.DECOMMISSIONED
        device = require(before if present else None, f"device {device_id}")
        status = TRANSITIONS.get((device.status, event))
        if status is None:
            raise Conflict(f"Device {device_id} is {device.status}; it cannot be changed by `{event}`.")
        if event is Event.MOVE and wanted is not None and device.subscription_id == wanted.subscription_id:
            return device
        seat = None
        if wanted is not None:
            seat = SeatAllocator(subscriptions, context.settled, grace=wanted.grace).take(wanted.subscription_id)
        cursor = await connection.execute(
            STATEMENTS["set_status"],
            {
                "tenant": tenant_id,
                "device": device_id,
                "status": status.value,
                "subscription": seat,
                "now": context.now,
            },
        )
        after = device_of(require(await cursor.fetchone(), f"device {device_id}"))
        await record(connection, entry(context.actor, event, device, after), now=context.now)
    return after


@asynccontextmanager
async def changing_seats(connection: Connection[Any], tenant_id: str) -> AsyncIterator[list[Subscription]]:
    """Open a transaction in which the tenant's subscriptions are locked, and give them: a SeatAllocator takes them.

    Raises NotFound for an unknown tenant, and NoCapacity should the database refuse a seat that was given.
    """
    try:
        async with connection.transaction():
            await check_tenant(connection, tenant_id)
            yield await rows.lock(connection, [tenant_id])
    except errors.CheckViolation as error:
        if error.diag.constraint_name != LIMIT_CONSTRAINT:
            raise
        raise NoCapacity("The subscription has no free seat.") from error


async def check_tenant(connection: Connection[Any], tenant_id: str) -> None:
    """Raise NotFound for an unknown tenant."""
    cursor = await connection.execute(STATEMENTS["tenant_exists"], {"tenant": tenant_id})
    require(await cursor.fetchone(), f"tenant {tenant_id}")


async def lock_devices(connection: Connection[Any], tenant_id: str, devices: Iterable[str]) -> dict[str, Device]:
    """Return the rows of the devices that exist, tombstones included, locked in order of id."""
    return await _devices(connection, "lock_devices", tenant_id, devices)


async def select_devices(connection: Connection[Any], tenant_id: str, devices: Iterable[str]) -> dict[str, Device]:
    """Return the rows of the devices that exist, tombstones included."""
    return await _devices(connection, "select_devices", tenant_id, devices)


async def put(
    connection: Connection[Any], tenant_id: str, seated: Iterable[tuple[NewDevice, str]], *, now: datetime
) -> list[Device]:
    """Insert devices on the seats of the subscriptions beside them, or raise them from their tombstones.

    Returns the created ones; an existing one is not changed.
    """
    pairs = sorted(seated, key=lambda pair: pair[0].device_id)
    made: list[Device] = []
    for start in range(0, len(pairs), DELETE_ROWS):
        part = pairs[start : start + DELETE_ROWS]
        parameters = {
            **descriptions(new for new, _ in part),
            "tenant": tenant_id,
            "now": now,
            "subscriptions": [subscription_id for _, subscription_id in part],
        }
        cursor = await connection.execute(STATEMENTS["put_devices"], parameters)
        made += [device_of(row) for row in await cursor.fetchall()]
    return made


def descriptions(devices: Iterable[NewDevice]) -> dict[str, Any]:
    """Return the parameters of statements that write descriptions of devices, one list a column."""
    listed = list(devices)
    return {
        "devices": [new.device_id for new in listed],
        "sites": [new.site_id for new in listed],
        "names": [new.name for new in listed],
        "places": [new.place for new in listed],
        "tags": [msgspec.json.encode(new.tags).decode() for new in listed],  # arrays of arrays must be rectangular
        "intervals": [new.interval for new in listed],
    }


def device_of(row: tuple[Any, ...]) -> Device:
    """Return the device of a row, its columns in the order in which every statement of ``seats.sql`` names them."""
    tenant, device, status, subscription, site, name, place, tags, interval = row
    return Device(tenant, device, DeviceStatus(status), subscription, site, name, place, tuple(tags), interval)


def entry(actor: Actor, event: str, before: Device | None, after: Device) -> Entry:
    """Return the audit row of a change: status, seat and site, before and after."""
    return Entry(actor, f"device.{event}", "device", after.device_id, after.tenant_id, _state(before), _state(after))


def description_entry(actor: Actor, before: Device, after: NewDevice) -> Entry:
    """Return the audit row of a new description: the fields that differ, before and after."""
    names = ("site_id", "name", "place", "tags", "interval")
    differing = [name for name in names if getattr(before, name) != getattr(after, name)]
    return Entry(
        actor,
        "device.describe",
        "device",
        before.device_id,
        before.tenant_id,
        {name: getattr(before, name) for name in differing},
        {name: getattr(after, name) for name in differing},
    )


def _state(device: Device | None) -> Mapping[str, Any] | None:
    if device is None:
        return None
    return {"status": device.status, "subscription_id": device.subscription_id, "site_id": device.site_id}


def _exists(device: Device) -> Conflict:
    how = {
        DeviceStatus.PENDING: "approve it",
        DeviceStatus.INACTIVE: "reactivate it",
        DeviceStatus.REVOKED: "reactivate it",
    }
    hint = how.get(device.status)
    return Conflict(f"Device {device.device_id} already exists, {device.status}" + (f"; {hint}." if hint else "."))


def _not_made(before: Device | None, device_id: str) -> str:
    if before is not None:
        return f"Device {device_id} was deleted with its readings, and they are still being erased; try again soon."
    # In this very moment, for approval: that takes no seat and so waits for nobody.
    return f"Device {device_id} has just announced itself."


async def _devices(
    connection: Connection[Any], statement: str, tenant_id: str, devices: Iterable[str]
) -> dict[str, Device]:
    parameters = {"tenant": tenant_id, "devices": sorted(set(devices))}
    cursor = await connection.execute(STATEMENTS[statement], parameters)
    return {device.device_id: device for device in map(device_of, await cursor.fetchall())}


async def _remove_credential(connection: Connection[Any], tenant_id: str, device_id: str) -> bool:
    """Remove the credential of a device; return whether it had one of its own."""
    parameters = {"tenant": tenant_id, "device": device_id}
    return (await connection.execute(STATEMENTS["remove_credential"], parameters)).rowcount > 0
