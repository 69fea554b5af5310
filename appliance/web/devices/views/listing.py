"""Devices: searched, filtered, sorted, a page at a time or as CSV; those that wait on top; many changed at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response

from appliance.clock import Clock
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet, sites, tenants
from appliance.devices.device import Event
from appliance.devices.fleet import DeviceCounts, FleetDevice, FleetPosition
from appliance.devices.live.presence import Presence
from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.devices.seats.bulk import BulkAnswer
from appliance.errors import Invalid
from appliance.history import sparks
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions.lifecycle import Subscription, status_at, usable
from appliance.web.access.auth import ADMINS, READERS, Viewer, allow, viewer
from appliance.web.access.transactions import actor, tenant_of, tenants_shown
from appliance.web.devices import metric_values
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.api.schemas import NONE, DeviceQuery, filter_of
from appliance.web.devices.metric_values import MetricValue
from appliance.web.openapi.describe import query
from appliance.web.page import charts, csv, cursor, forms, list_files
from appliance.web.page.labels import DEVICE_STATUSES, ReasonLabel, reason_label
from appliance.web.page.paths import of_tenant, to_device
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.subscriptions.labels import subscription_title

VALUES_SHOWN = 2
"""Latest values in a row."""
LARGE_FLEET = 2000
"""Devices whose counting takes so long that it is not done for every page."""
CENSUS_AGE = 3.0
"""Seconds that a count of such a fleet is good for."""
MANY_CHOICES = 100
"""Sites to choose from in the filter; the search finds the others."""
STEPS: Mapping[Event, str] = {
    Event.DEACTIVATE: "Deactivate…",
    Event.MOVE: "Move…",
    Event.APPROVE: "Approve",
    Event.REJECT: "Reject",
    Event.REACTIVATE: "Reactivate",
}
"""What may be done to many at once, as buttons say it; a question follows where one is needed."""
DONE = {
    "deleted": "The device is deleted.",
    "claim": "The claim user is closed.",
    "approved": "The device is approved.",
    "rejected": "The device is turned away.",
}


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device in the list. Times are seconds since 1970."""

    member: FleetDevice
    href: str
    site: str
    seen_at: float | None
    refused: ReasonLabel | None
    """Why its newest message was not accepted, for a device whose presence says so."""
    values: Sequence[MetricValue]
    spark: str
    """The line of the last day of its first value."""
    spark_of: str


@dataclass(frozen=True, slots=True)
class BulkChoice:
    """A subscription whose seats may be given."""

    subscription_id: str
    title: str
    free: int


@dataclass(frozen=True, slots=True)
class BulkChoices:
    """What the filters offer, each as (value, word, count, glyph)."""

    presences: Sequence[tuple[str, str, int, str]]
    statuses: Sequence[tuple[str, str, int, None]]
    sites: Sequence[tuple[str, str]]
    subscriptions: Sequence[tuple[str, str]]


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """The routes of the list."""
    routes = Blueprint("devices", __name__)
    platform, access = renderer.platform, renderer.platform.access
    counts = DeviceCountCache(platform.clock)

    @routes.get("/devices")
    @allow(READERS)
    async def devices() -> Response:
        asked = query(DeviceQuery)
        tenant_id, who = tenants_shown(), viewer()
        sort, down = asked.order()
        wanted = filter_of(asked, tenant_id)
        if csv.asked_for():
            return list_files.devices(platform, who, wanted, sort, down=down)
        async with access.reading() as connection:
            place = cursor.read(asked.cursor, FleetPosition)
            page = await fleet.list_page(connection, wanted, sort=sort, down=down, limit=asked.limit, after=place)
            census = await counts.read(connection, tenant_id)
            shown = await _rows(connection, page.members, who, access.now())
            open_claims = await fleet.open_claim_users(connection, tenant_id)
            owned = await subscriptions_of(connection, tenant_id)
            # Of all tenants together an id may stand for several sites: then it stands for itself.
            called = {} if tenant_id is None else await sites.names(connection, tenant_id, census.sites)
        return await renderer.page(
            "devices/list.html",
            done=DONE,
            rows=shown,
            total=page.total,
            next=cursor.write(page.next),
            census=census,
            choices=_choices(census, owned, called),
            open_claims=open_claims,
            may_change=may_change(who),
            steps=STEPS,
            statuses=DEVICE_STATUSES,
        )

    @routes.post("/devices/+bulk")
    @allow(ADMINS)
    async def bulk() -> Response:
        fields = await forms.read()
        step = fields.choice("step", Event)
        chosen, seat = fields.many("device"), fields.text("subscription_id") or None
        tenant_id = tenant_of()
        if step is Event.DEACTIVATE and fields.text("typed") != str(len(set(chosen))):
            fault = ("typed", "This is not the number of devices.") if "typed" in fields else None
            return await _ask(renderer, tenant_id, chosen, "devices/deactivate.html", fault)
        if step is Event.MOVE and seat is None:
            async with access.reading() as connection:
                seats = free_seats(await subscriptions_of(connection, tenant_id), access.now())
            return await _ask(renderer, tenant_id, chosen, "devices/move.html", None, seat_choices=seat_choices(seats))
        answers = await actions.step_many(tenant_id, chosen, step, seat)
        return await renderer.page(
            "devices/done.html",
            step=STEPS[step].rstrip("…"),
            answers=answers,
            changed=sum(answer.why_not is None for answer in answers),
            href=lambda answer: _href(answer, tenant_id),
            back=of_tenant("/devices", viewer(), tenant_id),
        )

    @routes.post("/devices/+close-claim")
    @allow(ADMINS)
    async def close_claim() -> Response:
        async with access.changing() as connection:
            await tenants.set_claim(connection, tenant_of(), actor(), enabled=False)
        return see_other(of_tenant("/devices", viewer(), tenant_of(), done="claim"))

    return routes


class DeviceCountCache:
    """Counts devices for the filters; a large fleet at most every few seconds, however many pages ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str | None, tuple[float, DeviceCounts]] = {}

    async def read(self, connection: Connection[Any], tenant_id: str | None) -> DeviceCounts:
        """The census of a tenant, or for None of all."""
        moment = self._clock.monotonic()
        counted_at, known = self._known.get(tenant_id, (0.0, None))
        if known is not None and known.total >= LARGE_FLEET and moment - counted_at < CENSUS_AGE:
            return known
        if len(self._known) >= MANY_CHOICES:
            self._known.clear()
        census = await fleet.device_counts(connection, tenant_id)
        self._known[tenant_id] = (moment, census)
        return census


def may_change(who: Viewer) -> bool:
    """Whether the viewer changes devices; what they may not do is left out of their pages."""
    return who.role in ADMINS


async def subscriptions_of(connection: Connection[Any], tenant_id: str | None) -> list[Subscription]:
    """The subscriptions of a tenant, or all that the viewer sees."""
    if tenant_id is None:
        return await subscription_rows.select_all(connection)
    return await subscription_rows.select(connection, [tenant_id])


def free_seats(owned: Sequence[Subscription], now: datetime) -> list[BulkChoice]:
    """The subscriptions that give seats now, with how many are free."""
    parents = {row.subscription_id: row for row in owned}
    return [
        BulkChoice(row.subscription_id, subscription_title(row), row.device_limit - row.active_device_count)
        for row in owned
        if usable(status_at(row, now, parent=parents.get(row.parent_subscription_id or "")))
    ]


def seat_choices(choices: Iterable[BulkChoice]) -> list[tuple[str, str]]:
    """The same for a form: value and word."""
    return [(choice.subscription_id, f"{choice.title}, {choice.free} free") for choice in choices]


async def _ask(
    renderer: PageRenderer,
    tenant_id: str,
    chosen: Sequence[str],
    question: str,
    fault: tuple[str, str] | None,
    **values: Any,
) -> Response:
    """The question before many devices stop or move."""
    unique = sorted(set(chosen))
    if not unique:
        raise Invalid("Choose at least one device.", "device")
    return await renderer.page(
        question,
        status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        devices=unique,
        fault=fault,
        action=of_tenant("/devices/+bulk", viewer(), tenant_id),
        back=of_tenant("/devices", viewer(), tenant_id),
        **values,
    )


async def _rows(
    connection: Connection[Any], members: Sequence[FleetDevice], who: Viewer, now: datetime
) -> list[DeviceRow]:
    """The rows of a page, with what their metrics are called and the line of the first of them."""
    known: dict[str, dict[str, Metric]] = {}
    for tenant_id in {member.device.tenant_id for member in members}:
        mine = (member.latest for member in members if member.device.tenant_id == tenant_id)
        known[tenant_id] = await store.of_names(connection, tenant_id, metric_values.names(mine))
    shown = [metric_values.all_shown(member.latest, known[member.device.tenant_id]) for member in members]
    keys = [
        (member.device.tenant_id, member.device.device_id, of[0].metric.name if of and of[0].is_number else "")
        for member, of in zip(members, shown, strict=True)
    ]
    lines = [charts.spark(series) for series in await sparks.read(connection, keys, now)]
    return [_row(member, of, line, who) for member, of, line in zip(members, shown, lines, strict=True)]


def _row(member: FleetDevice, shown: Sequence[MetricValue], line: str, who: Viewer) -> DeviceRow:
    device = member.device
    refused = member.presence is Presence.REFUSED and member.refused_reason is not None
    return DeviceRow(
        member=member,
        href=to_device(who, device.tenant_id, device.device_id),
        site=member.site_name or device.site_id or "",
        seen_at=None if member.last_seen_at is None else member.last_seen_at.timestamp(),
        refused=reason_label(member.refused_reason or "") if refused else None,
        values=shown[:VALUES_SHOWN],
        spark=line,
        spark_of=shown[0].metric.title if shown else "",
    )


def _choices(census: DeviceCounts, owned: Sequence[Subscription], called: Mapping[str, str]) -> BulkChoices:
    glyphs = {
        Presence.ONLINE: ("Online", "g-on"),
        Presence.STALE: ("Stale", "g-stale"),
        Presence.OFFLINE: ("Offline", "g-off"),
        Presence.REFUSED: ("Refused", "g-medium"),
    }
    titles = {row.subscription_id: subscription_title(row) for row in owned}
    return BulkChoices(
        [(one.value, glyphs[one][0], census.presences[one], glyphs[one][1]) for one in Presence],
        [(one.value, DEVICE_STATUSES[one], number, None) for one, number in census.statuses.items()],
        [(name or NONE, called.get(name, name) or "No site") for name in list(census.sites)[:MANY_CHOICES]],
        [(name or NONE, titles.get(name, name) or "No seat") for name in census.subscriptions],
    )


def _href(answer: BulkAnswer, tenant_id: str) -> str:
    return to_device(viewer(), tenant_id, answer.device_id)
