"""The Overview: what comes in, what is refused, what was read last. As an operator sees it, over all tenants."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
import trio
from quart import Blueprint, Response, request

from appliance.ingest.summary import LastReading
from appliance.web import charts, formats
from appliance.web.auth import READERS, Viewer, allow, viewer
from appliance.web.failures import POSTGRES_AWAY
from appliance.web.figures import FigureReader, Figures
from appliance.web.fragments import Fragment, LivePages
from appliance.web.frame import Frame
from appliance.web.live import LiveFeed
from appliance.web.rates import Point
from appliance.web.services import Services
from appliance.web.templating import Templates
from appliance.web.words import Words, reason_words

log = structlog.get_logger(__name__)

PAGE = "overview"
LAST_READINGS = 12
"""Rows of the table."""
REASONS_SHOWN = 6
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
    "kpi-devices": True,
    "kpi-stored": True,
    "kpi-refused": True,
    "kpi-held": True,
    "chart-rate": True,
    "reasons": True,
    "readings": True,
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
class Overview:
    """Everything the page shows. ``figures`` None: the books have not been read yet."""

    rate: Rate
    chart: RateChart
    refused_columns: list[charts.Column]
    figures: Figures | None
    reasons: list[ReasonCount]
    more_reasons: int
    rows: list[Row]
    trouble: str | None
    """One line for the banner, when something is away."""


def blueprint(services: Services, figures: FigureReader, templates: Templates, live_pages: LivePages) -> Blueprint:
    """The route of the page and its live parts."""
    routes = Blueprint(PAGE, __name__)

    @routes.get("/")
    @allow(READERS)
    async def page() -> Response:
        frame = Frame(viewer(), services.clock.wall(), "/", PAGE)
        today = await figures.read(frame.viewer, frame.viewer.tenant_id, formats.midnight(frame.now, frame.viewer.zone))
        shown = _assemble(services, frame, today)
        line = services.device_listener.command(request.host, "TENANT/device/DEVICE", "PASSWORD")
        html = templates.render("pages/overview.html", frame=frame, shown=shown, first_message=line, live=False)
        return Response(html, content_type="text/html; charset=utf-8")

    async def fragments(seen_by: Viewer) -> list[Fragment]:
        frame = Frame(seen_by, services.clock.wall(), "/", PAGE)
        shown = _assemble(services, frame, await _figures_or_older(services, figures, frame))
        # an empty table keeps the command line that the page was loaded with
        return [
            Fragment(part, templates.render(f"overview/{part}.html", frame=frame, shown=shown, live=True), calm)
            for part, calm in _PARTS.items()
            if part != "readings" or shown.rows
        ]

    live_pages.add(PAGE, fragments)
    return routes


async def _figures_or_older(services: Services, figures: FigureReader, frame: Frame) -> Figures | None:
    """Today's figures; while Postgres is away, the last that were read: the socket stays open and says so."""
    tenant, since = frame.viewer.tenant_id, formats.midnight(frame.now, frame.viewer.zone)
    if services.health().postgres is None:
        try:
            with trio.fail_after(LIVE_PATIENCE):
                return await figures.read(frame.viewer, tenant, since)
        except POSTGRES_AWAY as error:
            log.debug("live page without postgres", error=str(error))
    return figures.last_known(tenant, since)


def _assemble(services: Services, frame: Frame, figures: Figures | None) -> Overview:
    tenant = frame.viewer.tenant_id
    reasons = [] if figures is None else reason_counts(figures.reasons)
    return Overview(
        rate=_rate(services.live, frame),
        chart=_chart(services.live, frame),
        refused_columns=_refused_columns(services.live, tenant),
        figures=figures,
        reasons=reasons[:REASONS_SHOWN],
        more_reasons=max(len(reasons) - REASONS_SHOWN, 0),
        rows=[_row(reading) for reading in services.live.readings(LAST_READINGS, tenant)],
        trouble=trouble(services.health().missing()),
    )


def _rate(feed: LiveFeed, frame: Frame) -> Rate:
    totals = [_total(point) for point in feed.series(SPARK_STEP, SPARK_POINTS, frame.viewer.tenant_id)]
    peak = charts.highest(totals)
    end = feed.series_end(SPARK_STEP)
    peak_at = end - (SPARK_POINTS - totals.index(peak)) * SPARK_STEP if peak > 0 else None
    spark = charts.paths(totals, charts.nice_top(peak), charts.SPARK_WIDTH, charts.SPARK_HEIGHT)
    return Rate(feed.rate(frame.viewer.tenant_id), spark, peak, peak_at)


def _refused_columns(feed: LiveFeed, tenant: str | None) -> list[charts.Column]:
    refused = [point.refused for point in feed.series(COLUMN_STEP, COLUMN_POINTS, tenant)]
    return charts.columns(refused, charts.highest(refused) or 1)


def _total(point: Point) -> float | None:
    return None if point.accepted is None or point.refused is None else point.accepted + point.refused


def _chart(feed: LiveFeed, frame: Frame) -> RateChart:
    points = feed.series(CHART_STEP, CHART_POINTS, frame.viewer.tenant_id)
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
