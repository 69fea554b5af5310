"""The subscriptions of which a form can offer seats.

Enters: a tenant's subscriptions. Leaves: those that give seats now, with their free seats. Never: a seat, which only
the domain gives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions.lifecycle import Subscription, status_at, usable
from appliance.web.subscriptions.labels import subscription_title


@dataclass(frozen=True, slots=True)
class SeatChoice:
    """A subscription that gives seats."""

    subscription_id: str
    title: str
    free: int


async def subscriptions_of(connection: Connection[Any], tenant_id: str | None) -> list[Subscription]:
    """Return the subscriptions of a tenant, or for None all that the viewer sees."""
    if tenant_id is None:
        return await subscription_rows.select_all(connection)
    return await subscription_rows.select(connection, [tenant_id])


def free_seats(owned: Sequence[Subscription], now: datetime, *, grace: timedelta) -> list[SeatChoice]:
    """Return the subscriptions that give seats at ``now``, with the number of free seats."""
    parents = {row.subscription_id: row for row in owned}
    return [
        SeatChoice(row.subscription_id, subscription_title(row), row.device_limit - row.active_device_count)
        for row in owned
        if usable(status_at(row, now, parent=parents.get(row.parent_subscription_id or ""), grace=grace))
    ]


def seat_choices(choices: Iterable[SeatChoice]) -> list[tuple[str, str]]:
    """Return the options of a form: value and label."""
    return [(choice.subscription_id, f"{choice.title}, {choice.free} free") for choice in choices]
