"""The import of many devices: the outcome of each row is decided in memory, then written with a few statements.

An import can be run again: what is there already is only described anew where a row says something else. A row that
cannot be taken costs that row, not the import. A row that names its tenant and its status, as the exported list does,
is taken for that tenant only, and takes no seat for a device that was out of service.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import Device, DeviceStatus, Event, NewDevice, device_fault
from appliance.devices.seats import changes
from appliance.devices.seats.allocator import SeatAllocator
from appliance.errors import NoCapacity, NotFound
from appliance.subscriptions import rows


class ImportOutcome(StrEnum):
    """The outcome of a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    NO_CAPACITY = "no_capacity"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ImportLine:
    """One row of an import and its outcome; ``detail`` says why, or what else a person should know."""

    new: NewDevice
    outcome: ImportOutcome
    detail: str = ""
    subscription_id: str | None = None
    """The subscription whose seat a CREATED device takes."""


async def import_many(
    connection: Connection[Any],
    tenant_id: str,
    devices: Sequence[NewDevice],
    context: ChangeContext,
    *,
    grace: timedelta,
    dry_run: bool = False,
) -> list[ImportLine]:
    """Register ``devices`` in one transaction; return a line for each, in order. A dry run writes nothing.

    Raises NotFound for an unknown tenant.
    """
    ids = [new.device_id for new in devices if device_fault(new) is None]
    if dry_run:
        await changes.check_tenant(connection, tenant_id)
        allocator = SeatAllocator(await rows.select(connection, [tenant_id]), context.settled, grace=grace)
        return plan(tenant_id, devices, await changes.select_devices(connection, tenant_id, ids), allocator)
    async with changes.changing_seats(connection, tenant_id) as subscriptions:
        allocator = SeatAllocator(subscriptions, context.settled, grace=grace)
        existing = await changes.lock_devices(connection, tenant_id, ids)
        lines = plan(tenant_id, devices, existing, allocator)
        made = await _create(connection, tenant_id, lines, context)
        await _describe(connection, tenant_id, lines, existing, context)
        await record(connection, *_entries(context, lines, existing, made), now=context.now)
    return [_as_made(line, made) for line in lines]


def plan(
    tenant_id: str, devices: Sequence[NewDevice], existing: Mapping[str, Device], allocator: SeatAllocator
) -> list[ImportLine]:
    """Return the outcome of each row; takes seats of ``allocator``. ``existing`` includes deleted devices."""
    seen: set[str] = set()
    lines = []
    for new in devices:
        fault = device_fault(new)
        why_not = None if fault is None else fault.words
        if why_not is None and new.stated_tenant not in (None, tenant_id):
            why_not = f"the row is of tenant {new.stated_tenant}; take the column tenant_id out to register it here"
        if why_not is None and new.device_id in seen:
            why_not = "the device is also in an earlier row"
        seen.add(new.device_id)
        lines.append(ImportLine(new, ImportOutcome.REFUSED, why_not) if why_not else _outcome(new, existing, allocator))
    return lines


def _outcome(new: NewDevice, existing: Mapping[str, Device], allocator: SeatAllocator) -> ImportLine:
    device = existing.get(new.device_id)
    if device is None or device.status is DeviceStatus.DECOMMISSIONED:
        if new.stated_status not in (None, DeviceStatus.ACTIVE):
            why_not = f"the row says it is {new.stated_status}; take the column status out to register it as ACTIVE"
            return ImportLine(new, ImportOutcome.REFUSED, why_not)
        try:
            return ImportLine(new, ImportOutcome.CREATED, "", allocator.take(new.subscription_id))
        except NoCapacity as error:
            return ImportLine(new, ImportOutcome.NO_CAPACITY, str(error))
        except NotFound as error:
            return ImportLine(new, ImportOutcome.REFUSED, str(error))
    if device.status is DeviceStatus.ACTIVE and new.subscription_id not in (None, device.subscription_id):
        return ImportLine(new, ImportOutcome.REFUSED, f"it has a seat of {device.subscription_id}; move it by itself")
    detail = "" if device.status is DeviceStatus.ACTIVE else f"it is {device.status} and stays so"
    differs = _described(device, new) != _described(device, None)
    return ImportLine(new, ImportOutcome.UPDATED if differs else ImportOutcome.UNCHANGED, detail)


def _described(device: Device, new: NewDevice | None) -> NewDevice:
    """Return the description of a device after a row: what the row leaves open stays."""
    return NewDevice(
        device.device_id,
        site_id=(new and new.site_id) or device.site_id,
        name=(new and new.name) or device.name,
        place=(new and new.place) or device.place,
        tags=(new and new.tags) or device.tags,
        interval=(new and new.interval) or device.interval,
    )


async def _create(
    connection: Connection[Any], tenant_id: str, lines: Iterable[ImportLine], context: ChangeContext
) -> dict[str, Device]:
    """Insert the devices; return those that were inserted, by id."""
    wanted = [(line.new, line.subscription_id) for line in lines if line.outcome is ImportOutcome.CREATED]
    seated = [(new, subscription_id) for new, subscription_id in wanted if subscription_id is not None]
    made = await changes.put(connection, tenant_id, seated, now=context.now) if seated else []
    return {device.device_id: device for device in made}


async def _describe(
    connection: Connection[Any],
    tenant_id: str,
    lines: Iterable[ImportLine],
    existing: Mapping[str, Device],
    context: ChangeContext,
) -> None:
    changed = [
        _described(existing[line.new.device_id], line.new) for line in lines if line.outcome is ImportOutcome.UPDATED
    ]
    if changed:
        parameters = {**changes.descriptions(changed), "tenant": tenant_id, "now": context.now}
        await connection.execute(changes.STATEMENTS["describe_devices"], parameters)


def _entries(
    context: ChangeContext, lines: Iterable[ImportLine], existing: Mapping[str, Device], made: Mapping[str, Device]
) -> Iterable[Entry]:
    for line in lines:
        identity = line.new.device_id
        if line.outcome is ImportOutcome.CREATED and identity in made:
            yield changes.entry(context.actor, Event.CREATE, None, made[identity])
        elif line.outcome is ImportOutcome.UPDATED:
            device = existing[identity]
            yield changes.description_entry(context.actor, device, _described(device, line.new))


def _as_made(line: ImportLine, made: Mapping[str, Device]) -> ImportLine:
    """Return the line after the write: a device may have announced itself, or its old readings may still be there."""
    if line.outcome is not ImportOutcome.CREATED or line.new.device_id in made:
        return line
    return replace(
        line,
        outcome=ImportOutcome.REFUSED,
        detail="it has just announced itself, or is still being erased; run again",
        subscription_id=None,
    )
