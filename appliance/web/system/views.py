"""The System page: the message balance, the tasks of the process, and its use of resources."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from quart import Blueprint, Response

from appliance import local_time
from appliance.diagnostics.latency import POINTS, STEP, Percentiles
from appliance.diagnostics.snapshot import Dependency, Snapshot
from appliance.runtime.tree import ServiceState
from appliance.web.access.auth import OPERATORS, Viewer, allow, viewer
from appliance.web.live.parts import LivePart
from appliance.web.page import axes, charts, formats
from appliance.web.page.frame import Frame
from appliance.web.page.renderer import PageRenderer
from appliance.web.system.clock import difference
from appliance.web.system.disk_parts import Share, disk_shares, parts_of_data
from appliance.web.system.labels import (
    HELD,
    NOT_SAVED,
    PARTS,
    budget_text,
    budget_wait,
    dependency_text,
    going_text,
    heartbeat_text,
    is_pressing,
    no_outlook,
    outlook_text,
    promise,
    proof_text,
    wait_text,
)
from appliance.web.system.reader import SystemReader, SystemView, postgres_embedded
from appliance.web.system.retention import RetentionView
from appliance.web.system.task_rows import TaskRow, rows_of

PAGE = "system"
DONE = {
    "backup": "A backup is being made.",
    "clock": "Confirmed. The appliance follows the machine's clock within a second.",
    "removed": "The appliance is removed.",
    "restore": "Confirmed. Notices are sent again.",
}
"""Sentences for a toast, by the key that ``?done=`` names."""
PROBLEMS = "system-problems"
"""The same page with failing and late tasks only."""
PATHS: Mapping[str, str] = {PAGE: "/system", PROBLEMS: "/system/problems"}
LIVE_SECONDS = 0.9
"""Seconds that viewers share one rendering: the page changes by the second, and rendering takes some milliseconds."""
SPARK_STEP, SPARK_POINTS = 30, 60
DAYS_DRAWN, WAITING_SHOWN = 60, 5
TIME_LABELS = 3

_PARTS = (
    "restore",
    "clock",
    "alerts",
    "balance",
    "kpis",
    "peers",
    "floods",
    "client-ids",
    "tasks",
    "services",
    "end-to-end",
    "limits",
    "latency",
    "disk",
    "retention",
    "backups",
    "acknowledgement",
    "certificates",
    "versions",
)
"""The live parts; each is a template in templates/system/."""


@dataclass(frozen=True, slots=True)
class LatencyChart:
    """Receive to commit over one hour."""

    values: list[axes.Tick]
    times: list[axes.Tick]
    median: str
    p95: str
    p99: str
    summary: str


@dataclass(frozen=True, slots=True)
class RetentionCard:
    """The days of readings, as the page shows them."""

    view: RetentionView
    columns: list[charts.Column]
    """The sizes of the last days, the newest at the right."""
    summary: str
    waiting: Sequence[tuple[date, str]]
    """Days past their age, and why they are still there; the oldest few."""
    more: int
    """How many others wait."""
    outlook: str | None
    """Whether the disk lasts; None while that is not known."""
    no_outlook: str
    soon_full: bool
    budget: str | None
    """How much of what may be taken is; None where nothing limits it but the end of the disk."""
    going: str | None
    """When the oldest day goes to make room, before its age; None: it does not."""
    budget_wait: str | None
    """What keeps the day that has to go now."""
    parts: Sequence[tuple[str, int]]
    """What takes the room, where more is taken than may be and no day can go."""


@dataclass(frozen=True, slots=True)
class SystemPage:
    """Everything the page shows beyond the view itself."""

    view: SystemView
    rows: Sequence[TaskRow]
    services: int
    problems: int
    only_problems: bool
    spark: charts.Paths
    peak: float
    peak_at: float | None
    latency_spark: str
    chart: LatencyChart
    disk: Sequence[Share]
    held: str
    """What a full disk means for messages."""
    retention: RetentionCard | None
    dependencies: Sequence[tuple[Dependency, str]]
    """Each with a line about it."""
    answering: int
    promise: str
    """What an acknowledgement guarantees to a device."""
    proof: str
    """When a message last passed everything."""
    missing: Sequence[str]
    """The parts of which nothing was seen for too long."""
    heartbeat: str
    """How the heartbeat URL was last called."""
    clock_off: str
    """By how much the machine's clock differs from service time."""


def blueprint(renderer: PageRenderer, reader: SystemReader, snapshot: Snapshot) -> Blueprint:
    """Return the routes of the pages; registers their live parts."""
    routes = Blueprint(PAGE, __name__)

    async def assemble(seen_by: Viewer, *, only_problems: bool) -> SystemPage:
        now = renderer.platform.clock.now()
        return shown(
            renderer,
            snapshot,
            await reader.view(local_time.midnight(now, seen_by.zone)),
            seen_by,
            only_problems=only_problems,
        )

    async def page(name: str) -> Response:
        assembled = await assemble(viewer(), only_problems=name == PROBLEMS)
        return await renderer.page("system/system.html", live_page=name, done=DONE, shown=assembled, live=False)

    @routes.get("/system")
    @allow(OPERATORS)
    async def whole() -> Response:
        return await page(PAGE)

    @routes.get("/system/problems")
    @allow(OPERATORS)
    async def problems() -> Response:
        return await page(PROBLEMS)

    def go_live(name: str) -> None:
        async def fragments(seen_by: Viewer) -> list[LivePart]:
            if seen_by.role not in OPERATORS:
                return []
            assembled = await assemble(seen_by, only_problems=name == PROBLEMS)
            parts = _fragments(renderer, renderer.frame(seen_by, path=PATHS[name], live_page=name), assembled)
            return [*parts, *await renderer.live_nav_counts(seen_by, None)]

        renderer.live_pages.add(name, fragments, shared_for=LIVE_SECONDS)

    for name in PATHS:
        go_live(name)
    return routes


def _fragments(renderer: PageRenderer, frame: Frame, assembled: SystemPage) -> Iterator[LivePart]:
    values = {"frame": frame, "shown": assembled, "live": True}
    yield LivePart("live-state", renderer.templates.render("overview/live-state.html", **values))
    for part in _PARTS:
        yield LivePart(f"sys-{part}", renderer.templates.render(f"system/{part}.html", **values), calm=True)


def shown(
    renderer: PageRenderer, snapshot: Snapshot, view: SystemView, seen_by: Viewer, *, only_problems: bool
) -> SystemPage:
    """Return what the templates show of a view."""
    feed = renderer.platform.live
    totals = [
        None if point.accepted is None or point.refused is None else point.accepted + point.refused
        for point in feed.series(SPARK_STEP, SPARK_POINTS, None)
    ]
    peak = charts.highest(totals)
    end = feed.series_end(SPARK_STEP)
    latencies = snapshot.process.receive_to_commit.series()
    problems = [service for service in view.tasks if service.state in (ServiceState.BEHIND, ServiceState.FAILING)]
    p95 = [None if step is None else step.p95 for step in latencies]
    disk = list(disk_shares(view))
    return SystemPage(
        view=view,
        rows=list(rows_of(view, problems if only_problems else view.tasks)),
        services=len(view.tasks),
        problems=len(problems),
        only_problems=only_problems,
        spark=charts.paths(totals, axes.nice_top(peak), charts.SPARK_WIDTH, charts.SPARK_HEIGHT),
        peak=peak,
        peak_at=end - (SPARK_POINTS - totals.index(peak)) * SPARK_STEP if peak > 0 else None,
        latency_spark=charts.paths(
            p95, axes.nice_top(charts.highest(p95)), charts.SPARK_WIDTH, charts.SPARK_HEIGHT
        ).line,
        chart=_latency_chart(latencies, view.now, seen_by),
        disk=disk,
        held=HELD if postgres_embedded(view.dependencies) else NOT_SAVED,
        retention=None
        if view.retention is None
        else _retention(view.retention, view, embedded=postgres_embedded(view.dependencies)),
        dependencies=[(dependency, dependency_text(dependency, view)) for dependency in view.dependencies],
        promise=promise(view.broker_terms, view.receive_to_commit),
        answering=sum(dependency.trouble is None for dependency in view.dependencies),
        proof=proof_text(view.end_to_end),
        missing=[PARTS[part] for part in view.end_to_end.missing],
        heartbeat=heartbeat_text(view.end_to_end),
        clock_off=difference(view.clock),
    )


# Latency


def _latency_chart(steps: Sequence[Percentiles | None], now: float, seen_by: Viewer) -> LatencyChart:
    median = [None if step is None else 1000 * step.median for step in steps]
    p95 = [None if step is None else 1000 * step.p95 for step in steps]
    p99 = [None if step is None else 1000 * step.p99 for step in steps]
    top = axes.nice_top(charts.highest(p99))
    start = now - STEP * POINTS
    times = [
        axes.Tick(
            100 * index / TIME_LABELS,
            formats.short_time(start + (now - start) * index / TIME_LABELS, seen_by.zone),
        )
        for index in range(TIME_LABELS + 1)
    ]
    median_path, p95_path, p99_path = (
        charts.paths(series, top, charts.PLOT_WIDTH, charts.PLOT_HEIGHT).line for series in (median, p95, p99)
    )
    summary = f"Receive to commit over one hour, from {times[0].text} to {times[-1].text}, in milliseconds. "
    if any(value is not None for value in p99):
        summary += (
            f"The median is at most {charts.highest(median):.3g}, the 95th percentile at most"
            f" {charts.highest(p95):.3g}, the 99th at most {charts.highest(p99):.3g}."
        )
    else:
        summary += "No message was received."
    ticks = [tick for tick in axes.value_ticks(top) if tick.at in (0, 50, 100)]
    return LatencyChart(ticks, times, median_path, p95_path, p99_path, summary)


# Retention


def _retention(view: RetentionView, system: SystemView, *, embedded: bool) -> RetentionCard:
    """Return the card of the days of readings; the columns end with the present day, whatever the days are."""
    today = datetime.fromtimestamp(system.now, UTC).date()
    by_day = {one.day: one.bytes for one in view.days if one.day <= today}
    sizes: charts.ChartSeries = []
    summary = "No readings yet"
    if by_day:
        first, last = max(min(by_day), today - timedelta(days=DAYS_DRAWN - 1)), max(by_day)
        sizes = [by_day.get(first + timedelta(days=n)) for n in range((today - first).days + 1)]
        largest = formats.size(charts.highest(sizes))
        summary = f"Size of each day from {first:%-d %b %Y} to {last:%-d %b %Y}, at most {largest}"
    expected, budget = view.outlook, view.budget
    return RetentionCard(
        view=view,
        columns=charts.columns(sizes, max(charts.highest(sizes), 1)),
        summary=summary,
        waiting=[(one.day, wait_text(one)) for one in view.waiting[:WAITING_SHOWN]],
        more=max(len(view.waiting) - WAITING_SHOWN, 0),
        outlook=outlook_text(view),
        no_outlook=no_outlook(view, embedded=embedded),
        soon_full=expected is not None and is_pressing(expected),
        budget=None if budget is None else budget_text(budget),
        going=going_text(view, system.now),
        budget_wait=None if budget is None else budget_wait(budget),
        parts=parts_of_data(system) if budget is not None and budget.exhausted else (),
    )
