"""One step for many devices: one transaction, and an answer for each. A device that cannot take the step is skipped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from appliance.db.audit import record
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import IDENTIFIER, TRANSITIONS, Device, DeviceStatus, Event
from appliance.devices.seats import changes
from appliance.devices.seats.allocator import SeatAllocator
from appliance.errors import Invalid, NoCapacity

MAX_DEVICES = 1000
"""Most devices in one step."""

STEPS = frozenset({Event.APPROVE, Event.REJECT, Event.DEACTIVATE, Event.REACTIVATE, Event.MOVE})
"""Steps that leave credentials alone."""


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """The outcome for one device: the device as it is now, or as text why it was left as it was."""

    device_id: str
    device: Device | None
    why_not: str | None = None


async def change_many(
    connection: Connection[Any],
    tenant_id: str,
    devices: Iterable[str],
    step: Event,
    context: ChangeContext,
    subscription_id: str | None = None,
    *,
    grace: timedelta,
) -> list[BulkAnswer]:
    """Take ``devices`` through ``step``; answers in order of id. Seats come from ``subscription_id``, if one is named.

    Raises Invalid for none or more than MAX_DEVICES, or a step that is not among STEPS; NotFound for the tenant or the
    subscription.
    """
    wanted = sorted(set(devices))
    if not wanted:
        raise Invalid("Choose at least one device.", "devices")
    if len(wanted) > MAX_DEVICES:
        raise Invalid(f"{len(wanted)} devices are named; at most {MAX_DEVICES} at once.", "devices")
    if step not in STEPS:
        raise Invalid(f"Devices are not changed by `{step}` together.", "step")
    if step is Event.MOVE and subscription_id is None:
        raise Invalid("Choose the subscription to move them to.", "subscription_id")
    async with changes.changing_seats(connection, tenant_id) as subscriptions:
        allocator = SeatAllocator(subscriptions, context.settled, grace=grace)
        present = await changes.lock_devices(connection, tenant_id, filter(IDENTIFIER.fullmatch, wanted))
        plans = [_plan(device, present.get(device), step, allocator, subscription_id) for device in wanted]
        changed = await _write(connection, tenant_id, [plan for plan in plans if plan.status is not None], context)
        after = {device.device_id: device for device in changed}
        entries = [changes.entry(context.actor, step, present[name], device) for name, device in sorted(after.items())]
        await record(connection, *entries, now=context.now)
    return [BulkAnswer(plan.device_id, after.get(plan.device_id, plan.device), plan.why_not) for plan in plans]


@dataclass(frozen=True, slots=True)
class _Plan:
    device_id: str
    device: Device | None = None
    status: DeviceStatus | None = None
    seat: str | None = None
    why_not: str | None = None


def _plan(device_id: str, device: Device | None, step: Event, allocator: SeatAllocator, wanted: str | None) -> _Plan:
    if device is None or device.status is DeviceStatus.DECOMMISSIONED:
        return _Plan(device_id, why_not="There is no such device.")
    status = TRANSITIONS.get((device.status, step))
    if status is None:
        return _Plan(device_id, why_not=f"It is {device.status}.")
    if step is Event.MOVE and device.subscription_id == wanted:
        return _Plan(device_id, device)
    try:
        seat = allocator.take(wanted) if status is DeviceStatus.ACTIVE else None
    except NoCapacity as error:
        return _Plan(device_id, why_not=str(error)[:1].upper() + str(error)[1:])
    return _Plan(device_id, device, status, seat)


async def _write(
    connection: Connection[Any], tenant_id: str, plans: Sequence[_Plan], context: ChangeContext
) -> list[Device]:
    if not plans:
        return []
    parameters = {
        "tenant": tenant_id,
        "devices": [plan.device_id for plan in plans],
        "statuses": [None if plan.status is None else plan.status.value for plan in plans],
        "subscriptions": [plan.seat for plan in plans],
        "now": context.now,
    }
    cursor = await connection.execute(changes.STATEMENTS["set_statuses"], parameters)
    return [changes.device_of(row) for row in await cursor.fetchall()]
