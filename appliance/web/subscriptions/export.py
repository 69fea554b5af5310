"""The lists of subscriptions, of their terms and of their events as CSV files.

Beside each end of a term stands the last day, in the tenant's zone, that the term covers completely.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import msgspec
from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import history, rows, store
from appliance.subscriptions.history import HistoryFilter, SubscriptionEvent, TermRecord
from appliance.subscriptions.lifecycle import Subscription
from appliance.subscriptions.terms import last_full_day
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

LAST_FULL_DAY = "last_full_day"
HEADS = (
    "tenant_id", "subscription_id", "subscription_type", "parent_subscription_id", "status", "device_limit",
    "active_device_count", "term_start", "term_end", LAST_FULL_DAY, "grace_end", "hold_reason", "plan_id",
    "description",
)  # fmt: skip
TERM_HEADS = (
    "tenant_id", "subscription_id", "term_id", "kind", "corrects_term_id", "term_start", "term_end", LAST_FULL_DAY,
    "device_limit", "plan_id", "actor", "bought_at",
)  # fmt: skip
EVENT_HEADS = (
    "at", "tenant_id", "subscription_id", "event_id", "event_type", "actor", "previous_state", "new_state", "details",
    "ip",
)  # fmt: skip


def answer(
    platform: Platform, who: Viewer, tenant_id: str | None, keep: Callable[[Subscription], bool] = lambda _row: True
) -> Response:
    """Return the download of the subscriptions of a tenant, or for None of all that ``who`` sees.

    ``keep``: whether one is in the file.
    """

    async def read(connection: Connection[Any], after: tuple[str, str] | None) -> csv.Page[tuple[str, str]]:
        page = await store.list_page(
            connection,
            tenant_id,
            limit=csv.PAGE_ROWS,
            after=after,
            now=platform.access.settled(),
            grace=platform.grace,
        )
        zones = await rows.time_zones(connection, (one.tenant_id for one in page))
        days = [last_full_day(one.term_end, zones.get(one.tenant_id)) for one in page]
        cells = [_cells(one, HEADS, {LAST_FULL_DAY: day}) for one, day in zip(page, days, strict=True) if keep(one)]
        return cells, csv.next_position(page, lambda one: (one.tenant_id, one.subscription_id))

    return csv.list_answer(platform, who, "subscriptions", HEADS, read)


def terms(platform: Platform, who: Viewer, wanted: HistoryFilter) -> Response:
    """Return the download of the terms that match, newest first."""

    async def read(connection: Connection[Any], after: int | None) -> csv.Page[int]:
        before_id = wanted.before_id if after is None else after
        page = await history.terms(connection, replace(wanted, before_id=before_id), csv.PAGE_ROWS)
        zones = await rows.time_zones(connection, (term.tenant_id for term in page))
        days = [last_full_day(term.term_end, zones.get(term.tenant_id)) for term in page]
        cells = [_cells(term, TERM_HEADS, {LAST_FULL_DAY: day}) for term, day in zip(page, days, strict=True)]
        return cells, csv.next_position(page, lambda term: term.term_id)

    return csv.list_answer(platform, who, "subscription-terms", TERM_HEADS, read)


def events(platform: Platform, who: Viewer, wanted: HistoryFilter) -> Response:
    """Return the download of the events that match, newest first."""

    async def read(connection: Connection[Any], after: int | None) -> csv.Page[int]:
        before_id = wanted.before_id if after is None else after
        page = await history.events(connection, replace(wanted, before_id=before_id), csv.PAGE_ROWS)
        return [_event_cells(event) for event in page], csv.next_position(page, lambda event: event.event_id)

    return csv.list_answer(platform, who, "subscription-audit", EVENT_HEADS, read)


def fields_of(row: TermRecord | SubscriptionEvent) -> dict[str, Any]:
    """Return the columns of a row by name."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _event_cells(event: SubscriptionEvent) -> list[Any]:
    states = ("previous_state", "new_state", "details")
    written = {
        name: msgspec.json.encode(state).decode() for name in states if (state := getattr(event, name)) is not None
    }
    return _cells(event, EVENT_HEADS, written)


def _cells(row: Any, heads: tuple[str, ...], given: dict[str, Any]) -> list[Any]:
    return [given[name] if name in given else getattr(row, name) for name in heads]
