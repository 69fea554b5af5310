"""A series as a plot: positions of lines, labels and gaps, in percent and path data. Templates place them.

Time runs over the whole width, wherever the points are; values over a round range that holds all of them. The line is
the mean of each step, the band behind it reaches from the lowest to the highest; at a gap both are interrupted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from appliance.history.series import Point, Series, TimeSpan
from appliance.web.page import charts
from appliance.web.page.axes import Tick, ValueAxis, time_percent, time_ticks, value_axis
from appliance.web.page.charts import PLOT_HEIGHT, PLOT_WIDTH, End


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the width, in percent."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn."""

    values: Sequence[Tick]
    times: Sequence[Tick]
    line: str
    area: str
    """The area under the line."""
    envelope: str
    """The band from lowest to highest; empty where each step has one reading."""
    gaps: Sequence[Box]
    newest: End | None


def plot(series: Series, zone: tzinfo | None, levels: Sequence[float] = ()) -> Plot:
    """Return the series as it is drawn; times are shown in ``zone``, None is the machine's own.

    ``levels`` are values besides those of the series that the plot has room for, such as a limit.
    """
    axis = axis_of(series.points, levels)
    span, gaps = series.span, series.gaps()
    after_gaps = {gap.last for gap in gaps}
    runs = charts.runs(series.points, lambda _, later: later.at not in after_gaps)
    means = [_places(run, series, axis, lambda point: point.mean) for run in runs]
    has_envelope = any(point.low < point.high for point in series.points)
    return Plot(
        axis.ticks(),
        time_ticks(span, zone),
        "".join(map(charts.line, means)),
        "".join(charts.area(places, PLOT_HEIGHT) for places in means),
        "".join(_envelope(run, series, axis) for run in runs) if has_envelope else "",
        [_box(gap.first, gap.last, span) for gap in gaps],
        _newest(runs[-1][-1], series, axis) if runs else None,
    )


def axis_of(points: Sequence[Point], levels: Sequence[float] = ()) -> ValueAxis:
    """Return a round range that holds all points and ``levels``."""
    low = min([*(point.low for point in points), *levels], default=0.0)
    return value_axis(low, max([*(point.high for point in points), *levels], default=1.0))


def _envelope(run: Sequence[Point], series: Series, axis: ValueAxis) -> str:
    highs = _places(run, series, axis, lambda point: point.high)
    lows = _places(run, series, axis, lambda point: point.low)
    return charts.polygon(highs + lows[::-1])


def _places(
    run: Sequence[Point], series: Series, axis: ValueAxis, value: Callable[[Point], float]
) -> list[tuple[float, float]]:
    """Return where the points of a run stand, each in the middle of its step."""
    return [
        (
            PLOT_WIDTH * time_percent(_middle(point), series.span) / 100,
            PLOT_HEIGHT * axis.share(value(point)),
        )
        for point in run
    ]


def _newest(point: Point, series: Series, axis: ValueAxis) -> End:
    return End(time_percent(_middle(point), series.span), 100 * axis.share(point.mean))


def _middle(point: Point) -> float:
    return (point.at + point.until) / 2


def _box(first: float, last: float, span: TimeSpan) -> Box:
    x = time_percent(first, span)
    return Box(round(x, 2), round(time_percent(last, span) - x, 2))
