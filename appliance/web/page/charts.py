"""Charts drawn by the server: values in, percentages and path data out; templates place them, no script, no style."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ChartSeries = Sequence[float | None]
"""One value a step; None leaves a gap."""

PLOT_WIDTH, PLOT_HEIGHT = 1000, 100
SPARK_WIDTH, SPARK_HEIGHT = 100, 24
_STEPS = (1, 2, 2.5, 5, 10)
_INTERVALS = 4


@dataclass(frozen=True, slots=True)
class Paths:
    """A line and the area under it, as SVG path data."""

    line: str
    area: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, ``at`` in percent from the left or the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a small picture, in percent of its box."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class End:
    """The newest value of a line, in percent from the left and the top."""

    x: float
    y: float


def nice_top(highest: float) -> float:
    """The smallest round number at or above ``highest`` that four even steps reach."""
    if highest <= 0:
        return 1.0
    rough = highest / _INTERVALS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * (1 - 1e-9))
    return step * _INTERVALS


def value_ticks(top: float) -> list[Tick]:
    """Labels from ``top`` down to 0."""
    values = [top * (_INTERVALS - index) / _INTERVALS for index in range(_INTERVALS + 1)]
    return [Tick(100 * index / _INTERVALS, f"{value:,.6g}") for index, value in enumerate(values)]


def paths(series: ChartSeries, top: float, width: int, height: int) -> Paths:
    """The series as one line for each run without a gap, scaled so that ``top`` is the upper edge."""
    last = max(len(series) - 1, 1)
    lines, areas = [], []
    for run in _runs(series):
        points = [(width * index / last, height * (1 - min(value / top, 1))) for index, value in run]
        line = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
        lines.append(f"M{line}" if len(points) > 1 else f"M{line}h.1")
        areas.append(f"M{line}L{_short(points[-1][0])} {height}L{_short(points[0][0])} {height}Z")
    return Paths("".join(lines), "".join(areas))


def spark(series: ChartSeries) -> str:
    """The series as a line as large as a word, from its lowest value to its highest; empty without two values."""
    values = [value for value in series if value is not None]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    if high <= low:
        return paths([None if value is None else 0.5 for value in series], 1, SPARK_WIDTH, SPARK_HEIGHT).line
    scale = 0.86 / (high / 2 - low / 2) / 2  # halves: the distance of two large numbers may be too large for a float
    levels = [None if value is None else 0.07 + (value - low) * scale for value in series]
    return paths(levels, 1, SPARK_WIDTH, SPARK_HEIGHT).line


def columns(series: ChartSeries, top: float) -> list[Column]:
    """The series as columns with a third of space between them; a value that is not nothing stays visible."""
    pitch = 100 / max(len(series), 1)
    drawn = []
    for index, value in enumerate(series):
        if value:
            height = max(100 * min(value / top, 1), 4)
            drawn.append(
                Column(round(index * pitch, 2), round(100 - height, 1), round(pitch * 0.68, 2), round(height, 1))
            )
    return drawn


def end(series: ChartSeries, top: float) -> End | None:
    """Where the newest value stands, if there is one."""
    if not series or series[-1] is None:
        return None
    return End(100.0, 100 * (1 - min(series[-1] / top, 1)))


def highest(*all_series: ChartSeries) -> float:
    """The largest value of all series; 0 without any."""
    return max((value for series in all_series for value in series if value is not None), default=0.0)


def _runs(series: ChartSeries) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(series):
        if value is not None:
            runs[-1].append((index, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
