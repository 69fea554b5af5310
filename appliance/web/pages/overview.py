"""The Overview: what needs attention, what comes in, what is refused, how devices and seats stand.

Of the viewer's tenant; operators see all tenants, or that of ``?tenant=``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
import trio
from quart import Blueprint, Response, request

from appliance.devices.fleet import SiteTally
from appliance.ingest.summary import LastReading
from appliance.mqtt.topics import valid_id
from appliance.subscriptions.lifecycle import Status, usable
from appliance.web import attention, charts, first_steps, formats
from appliance.web.access import tenants_shown
from appliance.web.attention import Item, Places
from appliance.web.auth import READERS, Viewer, allow, viewer
from appliance.web.failures import POSTGRES_AWAY
from appliance.web.figures import FigureReader, Figures
from appliance.web.first_steps import Step
from appliance.web.fragments import Fragment
from appliance.web.frame import Frame
from appliance.web.live import LiveFeed
from appliance.web.rates import Point
from appliance.web.services import Services
from appliance.web.site import Site
from appliance.web.words import Words, reason_words

log = structlog.get_logger(__name__)

PAGE = "overview"
LAST_READINGS = 12
"""Rows of the table."""
REASONS_SHOWN = 6
SITES_SHOWN = 6
CHART_STEP, CHART_POINTS = 20, 180
"""Seconds and number of the chart's steps: one hour."""
SPARK_STEP, SPARK_POINTS = 30, 60
"""The same for the small picture: half an hour."""
COLUMN_STEP, COLUMN_POINTS = 120, 30
"""The same for the refused messages."""
TIME_LABELS = 5
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
class Rate:
    """The live rate with its small picture."""

    now: float
    spark: charts.Paths
    peak: float
    peak_at: float | None


@dataclass(frozen=True, slots=True)
class RateChart:
    """Messages per second over one hour."""

    values: list[charts.Tick]
    times: list[charts.Tick]
    accepted: charts.Paths
    refused: charts.Paths
    newest: charts.End | None
    words: str


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Refused messages of one reason; ``share`` is in percent of the most frequent one."""

    code: str
    words: Words
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Row:
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

    places: Places
    attention: Sequence[Item]
    presences: Presences
    sites: Sequence[SiteTally]
    more_sites: int
    seats: Sequence[Seats]
    """Of every subscription, those that end next first."""
    steps: Sequence[Step]
    rate: Rate
    chart: RateChart
    refused_columns: list[charts.Column]
    figures: Figures | None
    reasons: list[ReasonCount]
    more_reasons: int
    rows: list[Row]
    trouble: str | None
    """One line for the banner, when something is away."""

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


def blueprint(site: Site, figures: FigureReader) -> Blueprint:
    """The route of the page and its live parts."""
    routes = Blueprint(PAGE, __name__)
    services, render = site.services, site.templates.render

    @routes.get("/")
    @allow(READERS)
    async def page() -> Response:
        who, tenant = viewer(), tenants_shown()
        frame = await site.counted(_frame(who, services, tenant))
        today = await figures.read(who, tenant, formats.midnight(frame.now, who.zone))
        shown = _assemble(services, frame, today, tenant)
        line = services.device_listener.command(request.host, "TENANT/device/DEVICE", "PASSWORD")
        html = render("pages/overview.html", frame=frame, shown=shown, first_message=line, live=False)
        return Response(html, content_type="text/html; charset=utf-8")

    async def fragments(seen_by: Viewer, tenant: str | None) -> list[Fragment]:
        frame = _frame(seen_by, services, tenant)
        shown = _assemble(services, frame, await _figures_or_older(services, figures, frame, tenant), tenant)
        # an empty table keeps the command line that the page was loaded with
        parts = [
            Fragment(part, render(f"overview/{part}.html", frame=frame, shown=shown, live=True), calm)
            for part, calm in _PARTS.items()
            if part != "readings" or shown.rows
        ]
        return parts + await site.live_tallies(seen_by, tenant)

    async def of_viewer(seen_by: Viewer) -> list[Fragment]:
        return await fragments(seen_by, seen_by.tenant_id)

    async def of_tenant(seen_by: Viewer, tenant: str) -> list[Fragment]:
        # whoever has a tenant sees that one, whatever is asked for
        return await fragments(seen_by, seen_by.tenant_id or tenant) if valid_id(tenant) else []

    site.live_pages.add(PAGE, of_viewer)
    site.live_pages.add_each(PAGE, of_tenant)
    return routes


def _frame(who: Viewer, services: Services, tenant: str | None) -> Frame:
    chosen = tenant if who.is_operator else None
    return Frame(who, services.clock.wall(), "/", f"{PAGE}/{chosen}" if chosen else PAGE, chosen)


async def _figures_or_older(
    services: Services, figures: FigureReader, frame: Frame, tenant: str | None
) -> Figures | None:
    """Today's figures; while Postgres is away, the last that were read: the socket stays open and says so."""
    since = formats.midnight(frame.now, frame.viewer.zone)
    if services.health().postgres is None:
        try:
            with trio.fail_after(LIVE_PATIENCE):
                return await figures.read(frame.viewer, tenant, since)
        except POSTGRES_AWAY as error:
            log.debug("live page without postgres", error=str(error))
    return figures.last_known(frame.viewer, tenant, since)


def _assemble(services: Services, frame: Frame, figures: Figures | None, tenant: str | None) -> Overview:
    who, now = frame.viewer, frame.now
    places = Places(who.is_operator, tenant)
    reasons = [] if figures is None else reason_counts(figures.reasons)
    sites = [] if figures is None else sorted(figures.sites, key=lambda site: (-site.offline, -site.total, site.name))
    owned = [] if figures is None else seats(figures, now, places)
    return Overview(
        places=places,
        attention=[] if figures is None else attention.needed(figures, now, who.zone, places),
        presences=presences(sites),
        sites=sites[:SITES_SHOWN],
        more_sites=max(len(sites) - SITES_SHOWN, 0),
        seats=owned,
        steps=[] if figures is None else first_steps.steps(figures, who.role, places),
        rate=_rate(services.live, tenant),
        chart=_chart(services.live, frame, tenant),
        refused_columns=_refused_columns(services.live, tenant),
        figures=figures,
        reasons=reasons[:REASONS_SHOWN],
        more_reasons=max(len(reasons) - REASONS_SHOWN, 0),
        rows=[_row(reading) for reading in services.live.readings(LAST_READINGS, tenant)],
        trouble=trouble(services.health().missing()),
    )


def presences(sites: Sequence[SiteTally]) -> Presences:
    """All sites together."""
    return Presences(
        devices=sum(site.total for site in sites),
        online=sum(site.online for site in sites),
        stale=sum(site.stale for site in sites),
        offline=sum(site.offline for site in sites),
        refused=sum(site.refused for site in sites),
    )


def seats(figures: Figures, now: float, places: Places) -> list[Seats]:
    """Subscriptions, those that end next first; those that have ended before them."""
    shown = []
    for row in sorted(figures.subscriptions, key=lambda one: (one.term_end, one.tenant_id, one.subscription_id)):
        status, left = attention.standing(row, figures, now), attention.days_left(row, now)
        runs = status in (Status.ACTIVE, Status.TRIAL)
        colour = "" if runs and left >= attention.SOON else "medium" if runs else "crit"
        end = f"{attention.days(left)} left" if runs else "In grace" if status is Status.GRACE else status.capitalize()
        title = attention.title_of(row)
        shown.append(
            Seats(
                title=title if places.tenant else f"{title}, {row.tenant_id}",
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


def _rate(feed: LiveFeed, tenant: str | None) -> Rate:
    totals = [_total(point) for point in feed.series(SPARK_STEP, SPARK_POINTS, tenant)]
    peak = charts.highest(totals)
    end = feed.series_end(SPARK_STEP)
    peak_at = end - (SPARK_POINTS - totals.index(peak)) * SPARK_STEP if peak > 0 else None
    spark = charts.paths(totals, charts.nice_top(peak), charts.SPARK_WIDTH, charts.SPARK_HEIGHT)
    return Rate(feed.rate(tenant), spark, peak, peak_at)


def _refused_columns(feed: LiveFeed, tenant: str | None) -> list[charts.Column]:
    refused = [point.refused for point in feed.series(COLUMN_STEP, COLUMN_POINTS, tenant)]
    return charts.columns(refused, charts.highest(refused) or 1)


def _total(point: Point) -> float | None:
    return None if point.accepted is None or point.refused is None else point.accepted + point.refused


def _chart(feed: LiveFeed, frame: Frame, tenant: str | None) -> RateChart:
    points = feed.series(CHART_STEP, CHART_POINTS, tenant)
    accepted, refused = [point.accepted for point in points], [point.refused for point in points]
    highest = charts.highest(accepted, refused)
    top = charts.nice_top(highest)
    end = feed.series_end(CHART_STEP)
    start = end - CHART_STEP * CHART_POINTS
    times = [
        charts.Tick(
            100 * index / TIME_LABELS,
            formats.short_time(start + (end - start) * index / TIME_LABELS, frame.viewer.zone),
        )
        for index in range(TIME_LABELS + 1)
    ]
    return RateChart(
        values=charts.value_ticks(top),
        times=times,
        accepted=charts.paths(accepted, top, charts.PLOT_WIDTH, charts.PLOT_HEIGHT),
        refused=charts.paths(refused, top, charts.PLOT_WIDTH, charts.PLOT_HEIGHT),
        newest=charts.end(accepted, top),
        words=(
            f"Messages per second from {times[0].text} to {times[-1].text}. "
            f"Accepted peaks at {formats.rate(charts.highest(accepted))}, "
            f"refused at {formats.rate(charts.highest(refused))}."
        ),
    )


def reason_counts(reasons: Mapping[str, int]) -> list[ReasonCount]:
    """Reasons in words, most frequent first, each with its share of the first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(code, reason_words(code), count, 100 * count / ordered[0][1]) for code, count in ordered]


def _row(reading: LastReading) -> Row:
    shown = formats.metrics(reading.metrics)
    delayed = abs(reading.received_at - reading.ts) > 60
    return Row(
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
        return f"Postgres is away: {missing['postgres']}. The broker keeps the messages; today's numbers stand still."
    if "schema" in missing:
        return f"The database is not ready: {missing['schema']}."
    if "broker" in missing:
        return f"The broker is away: {missing['broker']}. Devices keep or lose their messages until it is back."
    return None
