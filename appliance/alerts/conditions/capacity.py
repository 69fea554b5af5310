"""CAPACITY: a tenant's seats are nearly all in use, all in use, or devices wait for one. One alert a tenant.

A new device takes a seat of any of the tenant's subscriptions, so they are summed up. A tenant whose subscriptions have
all lapsed has no such alert: that they lapsed is what its people are told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import STATEMENTS
from appliance.db.trio_psycopg import Connection
from appliance.severity import Severity
from appliance.subscriptions import rows
from appliance.subscriptions.lifecycle import usable
from appliance.subscriptions.statuses import as_of

FINGERPRINT = "capacity"
NEARLY_FULL = 0.9
"""The share of the seats from which on there is an alert."""
MOST_COUNTED = 10_000
"""Waiting devices of a tenant that are counted: each costs a probe of an index."""


@dataclass(slots=True)
class Seats:
    """The seats of a tenant's subscriptions that give seats now."""

    used: int = 0
    limit: int = 0
    lapsed: bool = False
    """It has subscriptions, and none gives seats."""


async def capacity_conditions(connection: Connection[Any], settled: datetime, *, grace: timedelta) -> list[Condition]:
    """Return what holds of all tenants that are not suspended; terms are judged at ``settled``."""
    seats = await _seats(connection, settled, grace)
    full = [tenant_id for tenant_id, one in seats.items() if one.used >= one.limit and not one.lapsed]
    cursor = await connection.execute(STATEMENTS["count_seatless"], {"tenants": full, "most": MOST_COUNTED})
    waiting = dict(await cursor.fetchall())
    return list(_conditions(seats, waiting))


def capacity_condition(tenant_id: str, used: int, limit: int, waiting: int) -> Condition | None:
    """Return what holds of ``used`` seats of ``limit`` while ``waiting`` devices wait for one; None if nothing does."""
    details = {"value": used, "threshold": limit, "waiting": waiting}
    if waiting:
        many = f"{waiting:,} or more" if waiting >= MOST_COUNTED else f"{waiting:,}"
        verb = "1 device waits" if waiting == 1 else f"{many} devices wait"
        summary, severity = f"{verb} for a seat: {_all_in_use(limit)}", Severity.HIGH
    elif not limit:
        return None
    elif used >= limit:
        everything = _all_in_use(limit)
        summary, severity = f"{everything[0].upper()}{everything[1:]}: new devices must wait", Severity.HIGH
    elif used >= NEARLY_FULL * limit:
        summary, severity = f"{used:,} of {limit:,} seats are in use", Severity.MEDIUM
    else:
        return None
    return Condition(tenant_id, FINGERPRINT, AlertType.CAPACITY, severity, summary, details)


async def _seats(connection: Connection[Any], settled: datetime, grace: timedelta) -> dict[str, Seats]:
    cursor = await connection.execute(STATEMENTS["tenants_served"])
    seats = {tenant_id: Seats() for (tenant_id,) in await cursor.fetchall()}
    for row in as_of(await rows.select_all(connection), settled, grace):
        one = seats.get(row.tenant_id)
        if one is None:
            continue
        if usable(row.status):
            one.used += row.active_device_count
            one.limit += row.device_limit
        one.lapsed = not one.limit
    return seats


def _conditions(seats: dict[str, Seats], waiting: dict[str, int]) -> Iterator[Condition]:
    for tenant_id, one in seats.items():
        condition = capacity_condition(tenant_id, one.used, one.limit, waiting.get(tenant_id, 0))
        if condition is not None:
            yield condition


def _all_in_use(limit: int) -> str:
    if not limit:
        return "there is no subscription with seats"
    return "the only seat is in use" if limit == 1 else f"all {limit:,} seats are in use"
