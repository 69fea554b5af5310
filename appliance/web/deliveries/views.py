"""The page of deliveries: filters, rows with their tries, one delivery opened below its row, or all as CSV."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response, request

from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.counts import totals
from appliance.delivery.outbox import deliveries
from appliance.delivery.outbox.deliveries import DeliveryFilter
from appliance.delivery.outbox.job import JobStatus
from appliance.delivery.outbox.retries import KEEP_FINISHED, STEPS
from appliance.delivery.routes import store as routes_store
from appliance.delivery.routes.store import RouteFilter
from appliance.errors import Invalid, NotFound
from appliance.web.access.auth import READERS, RESPONDERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.deliveries import export
from appliance.web.deliveries.labels import EVENTS
from appliance.web.deliveries.page_query import (
    NARROWING,
    PAGE_ROWS,
    STATUSES,
    DeliveryState,
    PageQuery,
    Span,
    filter_of,
)
from appliance.web.deliveries.shown import OpenedDelivery, ShownDelivery, opened, shown
from appliance.web.openapi.describe import parse_query
from appliance.web.page import csv, cursor, formats
from appliance.web.page.address import Address
from appliance.web.page.renderer import PageRenderer

PAGE = "deliveries"
SPAN_LABELS: Mapping[Span, str] = {Span.DAY: "Last 24 h", Span.ALL: "90 days"}
USUAL_SPAN = "Last 7 days"
STATE_LABELS: Mapping[DeliveryState, str] = {one: one.value.capitalize() for one in DeliveryState}
DONE = {
    "retried": "The delivery is tried again.",
    "cancelled": "The delivery is cancelled.",
}


@dataclass(frozen=True, slots=True)
class DeliveryList:
    """What the database says of one page of the list."""

    rows: Sequence[ShownDelivery]
    next: int | None
    counts: Mapping[DeliveryState, int]
    opened: OpenedDelivery | None
    newest: int
    """The newest job that matches; 0 if none does."""
    others: tuple[int, int]
    """How many routes and integrations there are, for the tabs."""


def blueprint(renderer: PageRenderer) -> Blueprint:
    """Return the route of the page."""
    routes = Blueprint(PAGE, __name__)
    access = renderer.platform.access

    @routes.get("/deliveries")
    @allow(READERS)
    async def listed() -> Response:
        who, now = viewer(), access.now()
        try:
            asked, fault = parse_query(request.args, PageQuery), None
            wanted, after = filter_of(asked, tenants_shown(), now), cursor.read(asked.cursor, int)
        except Invalid as error:  # the page shows the error beside the list, which stays usable
            if error.field == "tenant":
                raise
            asked, fault, after = PageQuery(), error, None
            wanted = filter_of(asked, tenants_shown(), now)
        if fault is None and csv.asked_for():
            return export.answer(renderer.platform, who, wanted)
        async with access.reading() as connection:
            found = await read_list(connection, renderer, asked, wanted, after, who)
            known = await routes_store.list_page(
                connection, RouteFilter(wanted.tenant_id), limit=routes_store.MAX_ROUTES
            )
        choices = [(str(one.route.route_id), one.route.name) for one in known]
        return await _answer(renderer, asked, found, choices, fault)

    return routes


async def read_list(
    connection: Connection[Any],
    renderer: PageRenderer,
    asked: PageQuery,
    wanted: DeliveryFilter,
    after: int | None,
    who: Viewer,
) -> DeliveryList:
    """Read one page of the list; an opened delivery that is not on it stands at its top."""
    now = renderer.platform.access.now()
    page = await deliveries.page(connection, wanted, limit=PAGE_ROWS, after=after)
    listed = list(page.deliveries)
    newest = listed[0].job_id if listed and after is None else 0
    if asked.open is not None and asked.open not in {one.job_id for one in listed}:
        with suppress(NotFound):
            listed.insert(0, await deliveries.get(connection, wanted.tenant_id, asked.open))
    tries = await deliveries.newest_attempts(connection, listed)
    rows = [shown(one, tries.get(one.job_id), who, now) for one in listed]
    numbers = await deliveries.counts(connection, wanted)
    shown_opened = await read_opened(connection, asked, rows, who, renderer)
    others = await totals(connection, wanted.tenant_id)
    return DeliveryList(rows, page.next, counted(numbers), shown_opened, newest, others)


async def read_opened(
    connection: Connection[Any], asked: PageQuery, rows: Sequence[ShownDelivery], who: Viewer, renderer: PageRenderer
) -> OpenedDelivery | None:
    """Read the delivery that the address opens, if it is there; a merged one with the tries of what tells it."""
    row = next((row for row in rows if row.job_id == asked.open), None)
    if row is None:
        return None
    attempts = await deliveries.attempts(connection, row.one.tenant_id, row.one.merged_into or row.job_id)
    return opened(row, attempts, who, renderer.platform.access.now())


def counted(numbers: Mapping[JobStatus, int]) -> dict[DeliveryState, int]:
    """Return the numbers of the states of the filter."""
    return {state: sum(numbers[status] for status in statuses) for state, statuses in STATUSES.items()}


async def _answer(
    renderer: PageRenderer,
    asked: PageQuery,
    found: DeliveryList,
    routes: Sequence[tuple[str, str]],
    fault: Invalid | None,
) -> Response:
    address, who = Address.of_request(), viewer()
    if fault is not None:
        address = Address("/deliveries", tuple(pair for pair in address.pairs if pair[0] == "tenant"))
    may_act = who.role in RESPONDERS
    return await renderer.page(
        "deliveries/list.html",
        status=HTTPStatus.OK if fault is None else HTTPStatus.BAD_REQUEST,
        live_page=live_page(address, found, first=not asked.cursor),
        done=DONE | retried_text(),
        live=False,
        news=0,
        fault=fault,
        asked=asked,
        rows=found.rows,
        opened=found.opened,
        next=cursor.write(found.next),
        counts=found.counts,
        others=found.others,
        total=None if asked.cursor or asked.state else sum(found.counts.values()),
        states=[(one.value, label) for one, label in STATE_LABELS.items()],
        routes=routes,
        events=[(one.value, label) for one, label in EVENTS.items()],
        spans=[(one.value, label) for one, label in SPAN_LABELS.items()],
        usual_span=USUAL_SPAN,
        narrowed=asked.narrows,
        unfiltered=address.having(**dict.fromkeys(NARROWING, None), open=None),
        may_act=may_act,
        dead=found.counts[DeliveryState.DEAD],
        back=address.having(cursor=asked.cursor or None).query,
        retries=", ".join(formats.lasting(step) for step in STEPS),
        kept=KEEP_FINISHED.days,
        zone=f"{formats.local(renderer.platform.clock.now(), who.zone):%Z}",
    )


def live_page(address: Address, found: DeliveryList, *, first: bool) -> str:
    """Return the name of the page's live parts: its own query, the rows it shows, and the newest delivery."""
    rows = ".".join(str(one.job_id) for one in found.rows)
    newest = found.newest if first else None
    return f"{PAGE}/{address.having(rows=rows, newest=newest).query}"


def retried_text() -> dict[str, str]:
    """Return the sentence of a toast about many retries: how many, and how many stay dead."""
    numbers = [request.args.get(name, "0") for name in ("many", "left")]
    if not all(text.isdecimal() and len(text) <= 6 for text in numbers):
        return {}
    many, left = map(int, numbers)
    text = (
        f"{many:,} dead deliver{'y is' if many == 1 else 'ies are'} tried again."
        if many
        else "Nothing was tried again."
    )
    if left:
        stay = "stays" if left == 1 else "stay"
        text += f" {left:,} {stay} dead: the route or its integration is off, or there are too many at once."
    return {"all": text}
