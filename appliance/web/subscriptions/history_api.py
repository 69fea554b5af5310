"""``/customer/subscription/terms`` and ``/audit``: every term that was bought, and every event, newest first."""

from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.subscriptions import history, rows
from appliance.subscriptions.history import HistoryFilter, SubscriptionEvent, TermRecord
from appliance.subscriptions.terms import last_full_day
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.time_range import moment_of
from appliance.web.platform import Platform
from appliance.web.subscriptions import export

TIME = "A day, RFC 3339, or seconds since 1970. Without an offset: your time zone."


class HistoryQuery(msgspec.Struct, frozen=True):
    """Which rows; a parameter that is left out matches any."""

    subscription_id: str | None = None
    since: Annotated[str | None, Meta(description=f"Written at this time or later. {TIME}")] = None
    until: Annotated[str | None, Meta(description=f"Written before this time. {TIME}")] = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class TermOut(msgspec.Struct, frozen=True, kw_only=True):
    """A term that was bought, or what an operator made of one later."""

    term_id: int
    tenant_id: str
    subscription_id: str
    kind: Annotated[str, Meta(description="SOLD, RENEWED, or CORRECTED: an operator has changed another term.")]
    corrects_term_id: Annotated[int | None, Meta(description="Of a correction: the term that was changed.")]
    term_start: datetime
    term_end: datetime
    last_full_day: Annotated[date, Meta(description="The last day, in the tenant's zone, that it covers completely.")]
    device_limit: int
    plan_id: str | None
    actor: str
    bought_at: datetime


class TermPage(msgspec.Struct, frozen=True):
    """One page of terms; ``next`` is the cursor of the next, if there is one."""

    items: list[TermOut]
    next: str | None


class SubscriptionEventOut(msgspec.Struct, frozen=True, kw_only=True):
    """One event. ``previous_state`` and ``new_state`` hold the fields that changed."""

    event_id: int
    at: datetime
    tenant_id: str
    subscription_id: str
    event_type: Annotated[str, Meta(description="For example `add`, `change`, `hold`, `lift_hold`, `RENEWED`.")]
    actor: str
    previous_state: dict[str, Any] | None
    new_state: dict[str, Any] | None
    details: dict[str, Any] | None
    ip: str | None


class SubscriptionEventPage(msgspec.Struct, frozen=True):
    """One page of events; ``next`` is the cursor of the next, if there is one."""

    items: list[SubscriptionEventOut]
    next: str | None


def blueprint(platform: Platform) -> Blueprint:
    """Return the routes of terms and events in the API."""
    routes = Blueprint("api_subscription_history", __name__)

    @routes.get("/customer/subscription/terms")
    @allow(READERS)
    @describe("List terms, newest first", query=HistoryQuery, answers={HTTPStatus.OK: TermPage}, csv=True)
    async def list_terms() -> Response:
        asked = query(HistoryQuery)
        wanted = filter_of(asked)
        if csv_export.asked_for():
            return export.terms(platform, viewer(), wanted)
        async with platform.access.reading() as connection:
            found = await history.terms(connection, wanted, asked.limit + 1)
            shown = found[: asked.limit]
            zones = await rows.time_zones(connection, (term.tenant_id for term in shown))
        following = shown[-1].term_id if len(found) > asked.limit else None
        items = [_term(term, last_full_day(term.term_end, zones.get(term.tenant_id))) for term in shown]
        return answer(TermPage(items, cursor.write(following)))

    @routes.get("/customer/subscription/audit")
    @allow(ADMINS)
    @describe(
        "List events of subscriptions, newest first",
        query=HistoryQuery,
        answers={HTTPStatus.OK: SubscriptionEventPage},
        csv=True,
    )
    async def list_events() -> Response:
        asked = query(HistoryQuery)
        wanted = filter_of(asked)
        if csv_export.asked_for():
            return export.events(platform, viewer(), wanted)
        async with platform.access.reading() as connection:
            found = await history.events(connection, wanted, asked.limit + 1)
        shown = found[: asked.limit]
        following = shown[-1].event_id if len(found) > asked.limit else None
        return answer(SubscriptionEventPage([_event(event) for event in shown], cursor.write(following)))

    return routes


def filter_of(asked: HistoryQuery) -> HistoryFilter:
    """Return the filter that a query asks for, of the viewer's tenants. Raises Invalid, which names the parameter."""
    if asked.subscription_id is not None and not valid_id(asked.subscription_id):
        raise Invalid("A subscription's id is such as SUB-20261130-00001.", "subscription_id")
    zone = viewer().zone
    since = None if asked.since is None else moment_of(asked.since, zone, "since")
    until = None if asked.until is None else moment_of(asked.until, zone, "until", ends=True)
    if since is not None and until is not None and since >= until:
        raise Invalid("`since` must be before `until`.", "since")
    before = cursor.read(asked.cursor, int)
    if before is not None and not 0 < before < 2**63:
        raise Invalid(cursor.STALE, "cursor")
    return HistoryFilter(tenants_shown(), asked.subscription_id, since, until, before)


def _term(term: TermRecord, last_day: date) -> TermOut:
    return TermOut(**export.fields_of(term), last_full_day=last_day)


def _event(event: SubscriptionEvent) -> SubscriptionEventOut:
    return SubscriptionEventOut(**export.fields_of(event))
