"""Charts drawn by the server: values in, percentages and path data out; templates place them, no script, no style."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

ChartSeries = Sequence[float | None]
"""One value a step; None leaves a gap."""
Place = tuple[float, float]
"""A point of a drawing: to the right and down, in its own units."""

PLOT_WIDTH, PLOT_HEIGHT = 1000, 100
SPARK_WIDTH, SPARK_HEIGHT = 100, 24

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """A line and the area under it, as SVG path data."""

    line: str
    area: str


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


def paths(series: ChartSeries, top: float, width: int, height: int) -> Paths:
    """Return the series as one line for each run without a gap, scaled so that ``top`` is the upper edge."""
    last = max(len(series) - 1, 1)
    known = [(index, value) for index, value in enumerate(series) if value is not None]
    places = [
        [(width * index / last, height * (1 - min(value / top, 1))) for index, value in run]
        for run in runs(known, lambda earlier, later: later[0] == earlier[0] + 1)
    ]
    return Paths("".join(map(line, places)), "".join(area(run, height) for run in places))


def spark(series: ChartSeries) -> str:
    """Return a line as large as a word, from the lowest value to the highest; empty for fewer than two values."""
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
    """Return the series as columns with a third of space between them; every value but 0 stays visible."""
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
    """Return the position of the newest value, or None if the series ends with a gap."""
    if not series or series[-1] is None:
        return None
    return End(100.0, 100 * (1 - min(series[-1] / top, 1)))


def highest(*all_series: ChartSeries) -> float:
    """Return the largest value of all series; 0 without any."""
    return max((value for series in all_series for value in series if value is not None), default=0.0)


def runs(points: Iterable[T], adjoin: Callable[[T, T], bool]) -> list[list[T]]:
    """Split points where two neighbours do not ``adjoin`` (earlier, later); no run is empty."""
    found: list[list[T]] = []
    for point in points:
        if found and adjoin(found[-1][-1], point):
            found[-1].append(point)
        else:
            found.append([point])
    return found


def line(run: Sequence[Place]) -> str:
    """Return a line through the places as path data; a single place becomes a dot."""
    return f"M{_path(run)}" if len(run) > 1 else f"M{_path(run)}h.1"


def area(run: Sequence[Place], height: float) -> str:
    """Return the area between the places and the bottom, ``height`` down, as path data."""
    return polygon([*run, (run[-1][0], height), (run[0][0], height)])


def polygon(corners: Sequence[Place]) -> str:
    """Return a closed shape as path data."""
    return f"M{_path(corners)}Z"


def _path(places: Sequence[Place]) -> str:
    return "L".join(f"{_short(x)} {_short(y)}" for x, y in places)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
