"""The chart of a preview: one device over the days, with the limit and what would have opened.

Numbers are a line; booleans and text are a bar of states; silence is the alerts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from appliance.alerts.rules import metric_history
from appliance.alerts.rules.findings import Opening, Preview, PreviewedRule
from appliance.alerts.rules.metric_history import ValueChange
from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics.metric import Metric
from appliance.history import series
from appliance.history.series import TimeSpan
from appliance.web.page import formats
from appliance.web.page.axes import Tick, time_percent, time_ticks
from appliance.web.page.formats import local
from appliance.web.page.plot import Box, Plot, axis_of, plot

POINTS = 340
"""Points of a week: one every half an hour."""
FILLS = ("f-track", "f-s4", "f-a2", "f-s2", "f-idle")
"""The colours of states: of a boolean false and true, of text one after the other."""


@dataclass(frozen=True, slots=True)
class StateBar:
    """A state over a part of the width, in percent."""

    x: float
    width: float
    fill: str


@dataclass(frozen=True, slots=True)
class PreviewChart:
    """Everything that the template draws."""

    plot: Plot | None
    """The line; None: no number."""
    limit: float | None
    """Where the limit is, in percent from the top."""
    clear: float | None
    bars: Sequence[StateBar]
    legend: Sequence[tuple[str, str]]
    """The fill and the name of each state."""
    times: Sequence[Tick]
    alerts: Sequence[Box]
    description: str


async def chart_of(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    rule: PreviewedRule,
    metric: Metric | None,
    found: Preview,
    *,
    numbers: bool,
    zone: tzinfo | None,
) -> PreviewChart:
    """Return the chart of a device; ``numbers``: what it sends of the metric is drawn as a line."""
    span = TimeSpan(local(found.first.timestamp(), zone), local(found.last.timestamp(), zone))
    mine = [one for one in found.openings if one.device_id == device_id]
    drawn, limit, clear = None, None, None
    bars: list[StateBar] = []
    legend: list[tuple[str, str]] = []
    if metric is not None and numbers:
        levels = [level for level in (_level(rule, "value"), _level(rule, "clear_value")) if level is not None]
        read = await series.read(
            connection, tenant_id, device_id, metric.name, span, points=POINTS, zone=zone, oldest_reading=found.first
        )
        axis = axis_of(read.points, levels)
        drawn = plot(read, zone, levels)
        limit, clear = (
            None if level is None else round(100 * axis.share(level), 2)
            for level in (_level(rule, "value"), _level(rule, "clear_value"))
        )
    elif metric is not None:
        changes = await metric_history.changes(connection, tenant_id, device_id, metric.name, found.first, found.last)
        bars, legend = _states(changes, span)
    return PreviewChart(
        plot=drawn,
        limit=limit,
        clear=clear,
        bars=bars,
        legend=legend,
        times=time_ticks(span, zone),
        alerts=[_box(one, span) for one in mine],
        description=_description(device_id, metric, mine, zone),
    )


def _level(rule: PreviewedRule, name: str) -> float | None:
    value = getattr(rule.parameters, name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _box(opening: Opening, span: TimeSpan) -> Box:
    x = time_percent(opening.started_at, span)
    ended_at = span.last.timestamp() if opening.ended_at is None else opening.ended_at
    return Box(round(x, 2), round(max(time_percent(ended_at, span) - x, 0.3), 2))


def _states(changes: Sequence[ValueChange], span: TimeSpan) -> tuple[list[StateBar], list[tuple[str, str]]]:
    """Return the states one beside the other, and what their colours mean."""
    fills: dict[str, str] = {}
    bars = []
    for index, (at, value) in enumerate(changes):
        name = formats.metric(value)
        if name not in fills:
            place = int(value) if isinstance(value, bool) else len(fills)
            fills[name] = FILLS[min(place, len(FILLS) - 1)]
        until = changes[index + 1].at if index + 1 < len(changes) else span.last.timestamp()
        x = time_percent(at, span)
        bars.append(StateBar(round(x, 2), round(time_percent(until, span) - x, 2), fills[name]))
    return bars, [(fill, name) for name, fill in list(fills.items())[: len(FILLS)]]


def _description(device_id: str, metric: Metric | None, mine: Sequence[Opening], zone: tzinfo | None) -> str:
    what = f"{metric.title} of {device_id}" if metric is not None else f"{device_id}"
    if not mine:
        return f"{what} over the last 7 days. Nothing would have opened."
    newest = formats.absolute(mine[0].started_at, zone)
    times = "once" if len(mine) == 1 else f"{formats.count(len(mine))} times"
    return f"{what} over the last 7 days. The rule would have opened {times}, the last time on {newest}."
