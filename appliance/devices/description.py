"""The description of a device (name, place, tags, site, interval), and the limits that operators set for it.

Neither touches seats, so a change locks the device's row and nothing else. Its audit row is in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import Device, DeviceFault, DeviceStatus, NewDevice, device_fault
from appliance.devices.seats import changes
from appliance.errors import Outdated

STATEMENTS = statements.load("fleet")

MAX_RATE = 1e6
"""Messages a second, and messages at once, as the database has it."""


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a device by people; None and empty leave a field open."""

    name: str | None = None
    place: str | None = None
    tags: tuple[str, ...] = ()
    site_id: str | None = None
    interval: float | None = None
    """Seconds between its messages; None: learned from what it sends."""


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Limits of one device, in messages a second and messages at once; None leaves the wider one in force."""

    rate: float | None = None
    burst: int | None = None


async def describe(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    description: Description,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> None:
    """Replace the whole description of a device.

    Raises Invalid with the field; NotFound; Conflict when somebody else has changed it since ``version``.
    """
    new = NewDevice(
        device_id,
        site_id=description.site_id,
        name=description.name,
        place=description.place,
        tags=description.tags,
        interval=description.interval,
    )
    async with connection.transaction():
        before, _ = await _lock(connection, tenant_id, device_id, version)
        fault = device_fault(new)
        if fault is not None:
            raise fault.error()
        if described(before) == description:
            return
        parameters = {**changes.descriptions([new]), "tenant": tenant_id, "now": context.now}
        await connection.execute(changes.STATEMENTS["describe_devices"], parameters)
        await record(connection, changes.description_entry(context.actor, before, new), now=context.now)


async def set_limits(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    limits: OwnLimits,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> None:
    """Set or lift the limits of one device; ingest knows within a second. Role ``appliance_ingest``.

    Raises Invalid with the field; NotFound; Conflict when somebody else has changed the device since ``version``.
    """
    fault = limits_fault_of(limits)
    if fault is not None:
        raise fault.error()
    async with connection.transaction():
        _, before = await _lock(connection, tenant_id, device_id, version)
        if before == limits:
            return
        parameters = {
            "tenant": tenant_id,
            "device": device_id,
            "rate": limits.rate,
            "burst": limits.burst,
            "now": context.now,
        }
        await connection.execute(STATEMENTS["update_limits"], parameters)
        old, new = ({"rate": one.rate, "burst": one.burst} for one in (before, limits))
        entry = Entry(context.actor, "device.limit", "device", device_id, tenant_id, old, new)
        await record(connection, entry, now=context.now)


def described(device: Device) -> Description:
    """Return the present description of ``device``."""
    return Description(device.name, device.place, device.tags, device.site_id, device.interval)


def limits_fault_of(limits: OwnLimits) -> DeviceFault | None:
    """Return what is wrong with the limits; None if they are valid."""
    if limits.rate is not None and not (isfinite(limits.rate) and 0 < limits.rate <= MAX_RATE):
        return DeviceFault("rate", "a rate is a number of messages a second, above 0 and at most a million")
    if limits.burst is not None and not 1 <= limits.burst <= MAX_RATE:
        return DeviceFault("burst", "a burst is a whole number of messages, from 1 to a million")
    return None


async def _lock(
    connection: Connection[Any], tenant_id: str, device_id: str, version: datetime | None
) -> tuple[Device, OwnLimits]:
    cursor = await connection.execute(STATEMENTS["lock_device"], {"tenant": tenant_id, "device": device_id})
    row = require(await cursor.fetchone(), f"device {device_id}")
    device, (rate, burst, changed_at) = changes.device_of(row[:9]), row[9:]
    require(None if device.status is DeviceStatus.DECOMMISSIONED else device, f"device {device_id}")
    if version is not None and version != changed_at:
        raise Outdated(f"Device {device_id} was changed by someone else; reload the page.")
    return device, OwnLimits(rate, None if burst is None else int(burst))
