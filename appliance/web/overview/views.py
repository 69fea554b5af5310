"""The Overview: what needs attention, what comes in, what is refused, how devices and seats stand.

Of the viewer's tenant; operators see all tenants, or that of ``?tenant=``. A site and a span may be chosen. Of a site
are the devices, what they call for, and their readings: messages are counted by tenant, and the page says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
import trio
from quart import Blueprint, Response, request

from appliance.devices.fleet import SiteCounts
from appliance.ingest.summary import LastReading
from appliance.subscriptions.lifecycle import Status, usable
from appliance.web.access.auth import READERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.devices.labels import NONE
from appliance.web.devices.port import DeviceListener
from appliance.web.live.parts import LivePart
from appliance.web.overview import action_items, message_rates, onboarding_checklist
from appliance.web.overview.action_items import ActionItem, PageLinks
from appliance.web.overview.choice import PAGE, SCALES, OverviewChoice
from appliance.web.overview.onboarding_checklist import ChecklistStep
from appliance.web.overview.query import LAST_READINGS, OverviewData, OverviewQueries
from appliance.web.page import charts, csv, formats
from appliance.web.page.address import Address
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.frame import Frame
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform
from appliance.web.subscriptions.labels import subscription_title

log = structlog.get_logger(__name__)

FILE_HEADS = ("from", "seconds", "received", "stored", "refused", "duplicate")
REASONS_SHOWN = 6
SITES_SHOWN = 6
LIVE_PATIENCE = 1.0
"""Seconds that a live update waits for the books: it must not look like a lost connection."""

_PARTS: Mapping[str, bool] = {
    "live-state": False,
    "kpi-messages": False,
    "live-banner": False,
    "attention": True,
    "kpi-devices": True,
    "kpi-refused": True,
    "kpi-held": True,
    "kpi-seats": True,
    "chart-rate": True,
    "books": True,
    "reasons": True,
    "readings": True,
    "sites": True,
    "seats": True,
    "first-steps": True,
}
"""The live parts by element id, and whether each is calm. Each is a template of its own in templates/overview/."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Refused messages of one reason; ``share`` is in percent of the most frequent one."""

    code: str
    words: ReasonLabel
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A reading in the table. ``measured_at`` is set where it differs from the receipt by more than a minute."""

    tenant_id: str
    device_id: str
    kind: str
    metrics: list[tuple[str, str]]
    more: int
    received_at: float
    measured_at: float | None


@dataclass(frozen=True, slots=True)
class Presences:
    """Devices by whether they talk."""

    devices: int
    online: int
    stale: int
    offline: int
    refused: int


@dataclass(frozen=True, slots=True)
class Seats:
    """A subscription with its seats and its end."""

    title: str
    href: str
    used: int
    limit: int
    end: str
    colour: str
    days_left: int | None
    """None: it has ended."""
    usable: bool
    """Whether its devices are served."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page shows. ``figures`` None: the books have not been read yet."""

    places: PageLinks
    choice: OverviewChoice
    sites_there: Sequence[tuple[str, str]]
    """Of the one tenant that is shown: what its sites are chosen by, and what they are called."""
    attention: Sequence[ActionItem]
    presences: Presences
    sites: Sequence[SiteCounts]
    more_sites: int
    seats: Sequence[Seats]
    """Of every subscription, those that end next first."""
    steps: Sequence[ChecklistStep]
    rate: message_rates.Rate
    chart: message_rates.RateChart
    refused_columns: list[charts.Column]
    figures: OverviewData | None
    reasons: list[ReasonCount]
    more_reasons: int
    rows: list[ReadingRow]
    trouble: str | None
    """One line for the banner, when something is away."""

    @property
    def elsewhere(self) -> str:
        """Said of what is not counted by site, where one was chosen."""
        return "" if self.choice.site is None else ", all sites"

    @property
    def next_end(self) -> Seats | None:
        """The subscription that ends next, of those that run."""
        return next((one for one in self.seats if one.days_left is not None), None)

    @property
    def seats_used(self) -> int:
        """Seats with a device on them, of all subscriptions that serve their devices."""
        return sum(one.used for one in self.seats if one.usable)

    @property
    def seats_there(self) -> int:
        """Seats of all these subscriptions."""
        return sum(one.limit for one in self.seats if one.usable)


def blueprint(renderer: PageRenderer, figures: OverviewQueries, listener: DeviceListener) -> Blueprint:
    """The route of the page and its live parts."""
    routes = Blueprint(PAGE, __name__)
    platform, render = renderer.platform, renderer.templates.render

    @routes.get("/")
    @allow(READERS)
    async def page() -> Response:
        who = viewer()
        choice = OverviewChoice.of(tenants_shown(), request.args)
        if csv.asked_for():
            return _file(await figures.read(who, choice), choice, platform.clock.wall())
        frame, address = await renderer.counted(_frame(who, platform, choice)), Address.of_request()
        shown = _assemble(platform, frame, await figures.read(who, choice), choice)
        html = render(
            "overview/overview.html",
            frame=frame,
            address=address,
            shown=shown,
            ranges=[
                (scale.title, address.having(range=one.value), one is choice.range) for one, scale in SCALES.items()
            ],
            first_message=listener.command(request.host, "TENANT/device/DEVICE", "PASSWORD"),
            live=False,
        )
        return Response(html, content_type="text/html; charset=utf-8")

    async def fragments(seen_by: Viewer, choice: OverviewChoice) -> list[LivePart]:
        frame = _frame(seen_by, platform, choice)
        shown = _assemble(platform, frame, await _figures_or_older(platform, figures, frame, choice), choice)
        # an empty table keeps the command line that the page was loaded with
        parts = [
            LivePart(part, render(f"overview/{part}.html", frame=frame, shown=shown, live=True), calm)
            for part, calm in _PARTS.items()
            if part != "readings" or shown.rows
        ]
        return parts + await renderer.live_nav_counts(seen_by, choice.tenant)

    async def of_viewer(seen_by: Viewer) -> list[LivePart]:
        return await fragments(seen_by, OverviewChoice(seen_by.tenant_id))

    async def of_choice(seen_by: Viewer, which: str) -> list[LivePart]:
        choice = OverviewChoice.of_live_page(which, seen_by.tenant_id)
        return [] if choice is None else await fragments(seen_by, choice)

    renderer.live_pages.add(PAGE, of_viewer)
    renderer.live_pages.add_each(PAGE, of_choice)
    return routes


def _frame(who: Viewer, platform: Platform, choice: OverviewChoice) -> Frame:
    tenant = choice.tenant if who.is_operator else None
    return Frame(who, platform.clock.wall(), "/", choice.live_page, tenant)


async def _figures_or_older(
    platform: Platform, figures: OverviewQueries, frame: Frame, choice: OverviewChoice
) -> OverviewData | None:
    """The figures of now; while Postgres is away, the last that were read: the socket stays open and says so."""
    if platform.health().postgres is None:
        try:
            with trio.fail_after(LIVE_PATIENCE):
                return await figures.read(frame.viewer, choice)
        except POSTGRES_AWAY as error:
            log.debug("live page without postgres", error=str(error))
    return figures.last_known(frame.viewer, choice)


def _assemble(platform: Platform, frame: Frame, figures: OverviewData | None, choice: OverviewChoice) -> Overview:
    who, now, feed = frame.viewer, frame.now, platform.live
    places = PageLinks(who.is_operator, choice.tenant)
    reasons = [] if figures is None else reason_counts(figures.reasons)
    everywhere: Sequence[SiteCounts] = () if figures is None else figures.sites
    sites = [one for one in everywhere if choice.site in (None, one.site_id)]
    sites.sort(key=lambda site: (-site.offline, -site.total, site.name))
    readings = feed.readings(LAST_READINGS, choice.tenant)
    if choice.site is not None:
        readings = [] if figures is None else list(reversed(figures.readings))
    return Overview(
        places=places,
        choice=choice,
        sites_there=[] if choice.tenant is None else sites_of(everywhere, choice),
        attention=[]
        if figures is None
        else action_items.action_items(replace(figures, sites=sites), now, who.zone, places, grace=platform.grace),
        presences=presences(sites),
        sites=sites[:SITES_SHOWN],
        more_sites=max(len(sites) - SITES_SHOWN, 0),
        seats=[] if figures is None else seats(figures, now, places, grace=platform.grace),
        steps=[] if figures is None else onboarding_checklist.steps(figures, who.role, places),
        rate=message_rates.current(feed, choice.tenant),
        chart=message_rates.chart(message_rates.flow(feed, figures, choice), choice, who.zone),
        refused_columns=message_rates.refused_columns(feed, figures, choice),
        figures=figures,
        reasons=reasons[:REASONS_SHOWN],
        more_reasons=max(len(reasons) - REASONS_SHOWN, 0),
        rows=[_row(reading) for reading in readings],
        trouble=trouble(platform.health().missing()),
    )


def sites_of(everywhere: Sequence[SiteCounts], choice: OverviewChoice) -> list[tuple[str, str]]:
    """What can be chosen, by name; what was chosen is among it, whether it is there or not."""
    named = {one.site_id or NONE: one.name or "No site" for one in everywhere}
    if choice.site is not None:
        named.setdefault(choice.site or NONE, choice.site or "No site")
    return sorted(named.items(), key=lambda item: (item[0] == NONE, item[1].lower()))


def _file(figures: OverviewData, choice: OverviewChoice, now: float) -> Response:
    """The books of the span, step by step; the last step still runs."""
    rows = [
        (
            datetime.fromtimestamp(one.began, UTC),
            choice.scale.step,
            one.received,
            one.stored,
            one.refused,
            one.duplicate,
        )
        for one in figures.books
    ]
    return csv.answer("messages", FILE_HEADS, csv.at_once(rows), now)


def presences(sites: Sequence[SiteCounts]) -> Presences:
    """All sites together."""
    return Presences(
        devices=sum(site.total for site in sites),
        online=sum(site.online for site in sites),
        stale=sum(site.stale for site in sites),
        offline=sum(site.offline for site in sites),
        refused=sum(site.refused for site in sites),
    )


def seats(figures: OverviewData, now: float, places: PageLinks, *, grace: timedelta) -> list[Seats]:
    """Subscriptions, those that end next first; those that have ended before them."""
    shown = []
    for row in sorted(figures.subscriptions, key=lambda one: (one.term_end, one.tenant_id, one.subscription_id)):
        status, left = action_items.status_of(row, figures, now, grace=grace), action_items.days_left(row, now)
        runs = status in (Status.ACTIVE, Status.TRIAL)
        colour = "" if runs and left >= action_items.SOON else "medium" if runs else "crit"
        end = (
            f"{action_items.days(left)} left" if runs else "In grace" if status is Status.GRACE else status.capitalize()
        )
        name = subscription_title(row)
        shown.append(
            Seats(
                title=name if places.tenant else f"{name}, {row.tenant_id}",
                href=places.subscription(row),
                used=row.active_device_count,
                limit=row.device_limit,
                end=end,
                colour=colour,
                days_left=left if runs else None,
                usable=usable(status),
            )
        )
    return shown


def reason_counts(reasons: Mapping[str, int]) -> list[ReasonCount]:
    """Reasons in words, most frequent first, each with its share of the first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(code, reason_label(code), count, 100 * count / ordered[0][1]) for code, count in ordered]


def _row(reading: LastReading) -> ReadingRow:
    shown = formats.metrics(reading.metrics)
    delayed = abs(reading.received_at - reading.ts) > 60
    return ReadingRow(
        tenant_id=reading.tenant_id,
        device_id=reading.device_id,
        kind=reading.kind.value,
        metrics=shown,
        more=len(reading.metrics) - len(shown),
        received_at=reading.received_at,
        measured_at=reading.ts if delayed else None,
    )


def trouble(missing: Mapping[str, str]) -> str | None:
    """What the banner says while something is away."""
    if "postgres" in missing:
        return f"Postgres is away: {missing['postgres']}. The broker keeps the messages; the numbers stand still."
    if "schema" in missing:
        return f"The database is not ready: {missing['schema']}."
    if "broker" in missing:
        return f"The broker is away: {missing['broker']}. Devices keep or lose their messages until it is back."
    return None
