"""What has happened to subscriptions: every term that was bought, and every event, newest first, page by page.

Enters: a connection. Leaves: rows as values. Never: a change; :mod:`.change_log` writes them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions.lifecycle import Subscription

STATEMENTS = statements.load("subscriptions")


@dataclass(frozen=True, slots=True)
class TermRecord:
    """A term that was bought, or a correction of one."""

    tenant_id: str
    term_id: int
    subscription_id: str
    kind: str
    """SOLD, RENEWED or CORRECTED."""
    corrects_term_id: int | None
    term_start: datetime
    term_end: datetime
    device_limit: int
    plan_id: str | None
    actor: str
    bought_at: datetime


@dataclass(frozen=True, slots=True)
class SubscriptionEvent:
    """One event of a subscription. The states hold the fields that changed, before and after."""

    tenant_id: str
    event_id: int
    subscription_id: str
    at: datetime
    event_type: str
    actor: str
    previous_state: Mapping[str, Any] | None
    new_state: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which terms or events; None matches any."""

    tenant_id: str | None = None
    subscription_id: str | None = None
    since: datetime | None = None
    """Bought, or happened, then or later."""
    until: datetime | None = None
    """Bought, or happened, before."""
    before_id: int | None = None
    """The id of the last row on the previous page."""


async def terms(connection: Connection[Any], wanted: HistoryFilter, limit: int) -> list[TermRecord]:
    """Return at most ``limit`` terms, corrections included, in reverse order of their being written."""
    cursor = await connection.execute(STATEMENTS["list_terms"], _parameters(wanted, limit))
    return [TermRecord(*map(_utc, row)) for row in await cursor.fetchall()]


async def events(connection: Connection[Any], wanted: HistoryFilter, limit: int) -> list[SubscriptionEvent]:
    """Return at most ``limit`` events, newest first."""
    cursor = await connection.execute(STATEMENTS["list_events"], _parameters(wanted, limit))
    return [SubscriptionEvent(*map(_utc, row)) for row in await cursor.fetchall()]


async def running_starts(
    connection: Connection[Any], subscriptions: Iterable[Subscription], now: datetime
) -> dict[tuple[str, str], datetime]:
    """Return when the term that runs now began, by tenant and id, of those whose newest term begins later."""
    ahead = [row for row in subscriptions if row.term_start > now]
    if not ahead:
        return {}
    parameters = {
        "tenants": sorted({row.tenant_id for row in ahead}),
        "subscriptions": sorted({row.subscription_id for row in ahead}),
        "at": now,
    }
    cursor = await connection.execute(STATEMENTS["select_running_starts"], parameters)
    return {(tenant_id, subscription_id): _utc(start) for tenant_id, subscription_id, start in await cursor.fetchall()}


def _parameters(wanted: HistoryFilter, limit: int) -> dict[str, Any]:
    return {
        "tenant": wanted.tenant_id,
        "subscription": wanted.subscription_id,
        "since": wanted.since,
        "until": wanted.until,
        "before": wanted.before_id,
        "limit": limit,
    }


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
