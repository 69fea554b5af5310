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
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import change_log
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, passed, status_at

log = structlog.get_logger(__name__)

STATEMENTS = statements.load("subscriptions")

SUBSCRIPTION_SCHEDULER = Actor("subscriptions", ActorKind.APPLIANCE)
"""The actor that records the end of a term, a grace period or a lapse."""


def as_of(subscriptions: Sequence[Subscription], now: datetime, grace: timedelta) -> list[Subscription]:
    """Return the same rows with the status that holds at ``now``.

    Needs all subscriptions of a tenant: the status of an ADDON follows from its parent.
    """
    return [replace(row, status=status) for row, status in _statuses(subscriptions, now, grace)]


def behind(subscriptions: Sequence[Subscription], settled: datetime, grace: timedelta) -> bool:
    """Return whether the record of any of a tenant's subscriptions is not that of ``settled``."""
    return any(row.status is not status for row, status in _statuses(subscriptions, settled, grace))


async def record_statuses(
    connection: Connection[Any],
    locked: Sequence[Subscription],
    *,
    now: datetime,
    settled: datetime,
    grace: timedelta,
) -> list[Subscription]:
    """Bring the ``status`` column up to ``settled``; return the rows as they are then.

    ``locked``: all subscriptions of a tenant, locked by the caller's transaction. Each transition has its event and its
    row of the audit log, at ``now``, those too that a late record has skipped. Nothing depends on the column: service
    follows ``status_at``.
    """
    stale = [(row, status) for row, status in _statuses(locked, settled, grace) if row.status is not status]
    if stale:
        await connection.execute(
            STATEMENTS["record_statuses"],
            {
                "tenants": [row.tenant_id for row, _ in stale],
                "subscriptions": [row.subscription_id for row, _ in stale],
                "statuses": [status.value for _, status in stale],
            },
        )
    known = {row.subscription_id: row for row in locked}
    for row, _ in stale:
        parent = known.get(row.parent_subscription_id or "")
        before = row
        for status, since in passed(row, settled, parent=parent, grace=grace):
            after = replace(before, status=status)
            await _record(connection, before, after, since, now)
            before = after
    return as_of(locked, settled, grace)


async def _record(
    connection: Connection[Any], before: Subscription, after: Subscription, since: datetime | None, now: datetime
) -> None:
    details = None if since is None else {"began_at": since}
    actor, identity = SUBSCRIPTION_SCHEDULER, after.subscription_id
    await change_log.record_event(connection, "status", actor, before, after, now=now, details=details)
    values = {"status": before.status.value}, {"status": after.status.value} | (details or {})
    entry = Entry(actor, "subscription.status", "subscription", identity, after.tenant_id, *values)
    await record(connection, entry, now=now)
    log.info("subscription status", subscription=identity, before=before.status, after=after.status)


def _statuses(
    subscriptions: Sequence[Subscription], now: datetime, grace: timedelta
) -> list[tuple[Subscription, SubscriptionStatus]]:
    """Return each row with its status at ``now``."""
    known = {(row.tenant_id, row.subscription_id): row for row in subscriptions}
    return [
        (row, status_at(row, now, parent=known.get((row.tenant_id, row.parent_subscription_id or "")), grace=grace))
        for row in subscriptions
    ]
