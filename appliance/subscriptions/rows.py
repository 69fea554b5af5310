"""Rows of ``subscriptions`` as values, and the lock that every change of seats takes on them.

One order for everybody, or two changes could wait for each other: first all subscription rows of the tenant, in order
of id, in statements of their own; then device rows, in order of id. READ COMMITTED, so that the last of them returns
what the transactions it waited for have left behind.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any

from appliance import local_time
from appliance.db import statements
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType

STATEMENTS = statements.load("subscriptions")


async def lock(connection: Connection[Any], tenants: Iterable[str]) -> list[Subscription]:
    """Return all subscriptions of ``tenants``, locked until the caller's transaction ends, by tenant and id.

    Two statements: the first may have waited for a sale, and the row that was sold is not among those it began with.
    Without the second, a main subscription would be renewed and its new ADDON left behind. Who sells holds the lock of
    the others, so there is at most the end of one such wait to look at.
    """
    parameters = {"tenants": sorted(set(tenants))}
    await _fetch(connection, "lock_of_tenants", parameters)
    return await _fetch(connection, "lock_of_tenants", parameters)


async def select(connection: Connection[Any], tenants: Iterable[str]) -> list[Subscription]:
    """Return all subscriptions of ``tenants`` as they are now, by tenant and id."""
    return await _fetch(connection, "select_of_tenants", {"tenants": sorted(set(tenants))})


async def select_all(connection: Connection[Any]) -> list[Subscription]:
    """Return every subscription that the role may see, by tenant and id."""
    return await _fetch(connection, "select_all", {})


async def select_page(
    connection: Connection[Any], tenant_id: str | None, *, limit: int, after: tuple[str, str] | None
) -> list[Subscription]:
    """Return at most ``limit`` subscriptions of a tenant, or of all, by tenant and id, after ``after``."""
    after_tenant, after_id = after or (None, None)
    parameters = {"tenant": tenant_id, "after_tenant": after_tenant, "after_id": after_id, "limit": limit}
    return await _fetch(connection, "select_page", parameters)


async def update(connection: Connection[Any], row: Subscription) -> None:
    """Write a row that is there, all but its hold and its seats in use. Raises NotFound."""
    cursor = await connection.execute(
        STATEMENTS["update_subscription"],
        {
            "tenant": row.tenant_id,
            "subscription": row.subscription_id,
            "type": row.subscription_type.value,
            "limit": row.device_limit,
            "term_start": row.term_start,
            "term_end": row.term_end,
            "grace_end": row.grace_end,
            "status": row.status.value,
            "plan": row.plan_id,
            "description": row.description,
        },
    )
    require_rows(cursor.rowcount, f"subscription {row.subscription_id}")


async def time_zone(connection: Connection[Any], tenant_id: str) -> tzinfo | None:
    """Return the time zone of a tenant, in which its terms are reckoned. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["zone_of_tenant"], {"tenant": tenant_id})
    name: str = require(await cursor.fetchone(), f"tenant {tenant_id}")[0]
    return local_time.zone_of(name)


async def time_zones(connection: Connection[Any], tenants: Iterable[str]) -> dict[str, tzinfo | None]:
    """Return the time zones of tenants by id, of those that the role may see."""
    cursor = await connection.execute(STATEMENTS["zones_of_tenants"], {"tenants": sorted(set(tenants))})
    return {tenant_id: local_time.zone_of(name) for tenant_id, name in await cursor.fetchall()}


def subscription(row: tuple[Any, ...]) -> Subscription:
    """Return the subscription of a row, its columns in the order of every statement of ``subscriptions.sql``."""
    (identity, tenant, kind, parent, limit, count, start, end, status, grace_end, hold, plan, description) = row
    return Subscription(
        subscription_id=identity,
        tenant_id=tenant,
        subscription_type=SubscriptionType(kind),
        parent_subscription_id=parent,
        device_limit=limit,
        active_device_count=count,
        term_start=_utc(start),
        term_end=_utc(end),
        status=SubscriptionStatus(status),
        grace_end=None if grace_end is None else _utc(grace_end),
        hold_reason=hold,
        plan_id=plan,
        description=description,
    )


async def _fetch(connection: Connection[Any], statement: str, parameters: dict[str, Any]) -> list[Subscription]:
    cursor = await connection.execute(STATEMENTS[statement], parameters)
    return [subscription(row) for row in await cursor.fetchall()]


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)
