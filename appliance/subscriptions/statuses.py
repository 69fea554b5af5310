"""The statuses of subscriptions at an instant, and their record in the ``status`` column.

Enters: rows of subscriptions and an instant. Leaves: the same rows with the status that holds then. Never: a decision
on service, which follows from ``lifecycle.status_at`` alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from appliance.db import statements
from appliance.db.audit import Actor, ActorKind
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import change_log, rows
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, status_at

log = structlog.get_logger(__name__)

STATEMENTS = statements.load("subscriptions")

SUBSCRIPTION_SCHEDULER = Actor("subscriptions", ActorKind.APPLIANCE)
"""The actor that records the end of a term, a grace period or a lapse."""


def as_of(subscriptions: Sequence[Subscription], now: datetime, grace: timedelta) -> list[Subscription]:
    """Return the same rows with the status that holds at ``now``.

    Needs all subscriptions of a tenant: the status of an ADDON follows from its parent.
    """
    return [replace(row, status=status) for row, status in _statuses(subscriptions, now, grace)]


async def record_statuses(connection: Connection[Any], *, now: datetime, grace: timedelta) -> int:
    """Bring the ``status`` column up to ``now``; return the number of rows that were behind.

    Nothing depends on the column: service follows ``status_at``. Each tenant has its own transaction, so that its
    rows are locked for a short time only.
    """
    behind = {row.tenant_id for row, status in _statuses(await rows.select_all(connection), now, grace)
              if row.status is not status}  # fmt: skip
    written = 0
    for tenant_id in sorted(behind):
        async with connection.transaction():
            stale = [
                (row, status)
                for row, status in _statuses(await rows.lock(connection, [tenant_id]), now, grace)
                if row.status is not status
            ]
            await _record(connection, stale, now)
        written += len(stale)
    return written


async def _record(
    connection: Connection[Any], stale: Sequence[tuple[Subscription, SubscriptionStatus]], now: datetime
) -> None:
    if not stale:
        return
    await connection.execute(
        STATEMENTS["record_statuses"],
        {
            "tenants": [row.tenant_id for row, _ in stale],
            "subscriptions": [row.subscription_id for row, _ in stale],
            "statuses": [status.value for _, status in stale],
        },
    )
    for row, status in stale:
        after = replace(row, status=status)
        await change_log.record_event(connection, "status", SUBSCRIPTION_SCHEDULER, row, after, now=now)
        log.info("subscription status", subscription=row.subscription_id, before=row.status, after=status)


def _statuses(
    subscriptions: Sequence[Subscription], now: datetime, grace: timedelta
) -> list[tuple[Subscription, SubscriptionStatus]]:
    """Return each row with its status at ``now``."""
    known = {(row.tenant_id, row.subscription_id): row for row in subscriptions}
    return [
        (row, status_at(row, now, parent=known.get((row.tenant_id, row.parent_subscription_id or "")), grace=grace))
        for row in subscriptions
    ]
