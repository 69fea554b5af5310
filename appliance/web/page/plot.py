"""A series as a plot: where lines, labels and gaps stand, in percent and path data. Templates place them.

Time runs over the whole width, whatever of it has points; values over a round range that holds them all. The line is
the mean of each step, the band behind it reaches from the lowest to the highest; at a gap both are left open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from appliance.history.series import Point, Series, TimeSpan
from appliance.web.page.charts import PLOT_HEIGHT, PLOT_WIDTH, End, Tick
from appliance.web.page.formats import MINUS, local

VALUE_LINES = 5
"""Intervals on the axis of values, about."""
TIME_LABELS = 6
"""Labels on the axis of time, at most, both ends included."""
NEAR_END = 12.0
"""Percent of the width that a label keeps from both ends."""
HUGE = 1e300
"""Beyond this a value is drawn as this: the height of a plot must be a number."""
_STEPS = (1, 2, 2.5, 5, 10)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS = (
    1, 5, 15, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR,
    6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY,
)  # fmt: skip
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)


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
    """What lies under the line."""
    envelope: str
    """The band from lowest to highest; empty where each step has one reading."""
    gaps: Sequence[Box]
    newest: End | None


@dataclass(frozen=True, slots=True)
class Axis:
    """A round range of values."""

    bottom: float
    top: float
    step: float

    def height(self, value: float) -> float:
        """How far from the top a value stands, in percent of the height."""
        share = (_tame(value) - self.bottom) / (self.top - self.bottom)
        return PLOT_HEIGHT * (1 - min(max(share, 0.0), 1.0))

    def ticks(self) -> list[Tick]:
        """Labels from the top down."""
        count = max(1, round((self.top - self.bottom) / self.step))
        return [Tick(100 * index / count, label(self.top - index * self.step, self.step)) for index in range(count + 1)]


def plot(series: Series, zone: tzinfo | None) -> Plot:
    """The series as it is drawn; times are shown in ``zone``, None is the machine's own."""
    axis = axis_of(series.points)
    runs = _runs(series)
    span = series.span
    newest = runs[-1][-1] if runs else None
    return Plot(
        axis.ticks(),
        time_ticks(span, zone),
        "".join(_line(run, series, axis) for run in runs),
        "".join(_area(run, series, axis) for run in runs),
        "".join(_envelope(run, series, axis) for run in runs) if any(p.low < p.high for p in series.points) else "",
        [_box(gap.first, gap.last, span) for gap in series.gaps()],
        None if newest is None else End(_percent(newest.at + series.step / 2, span), axis.height(newest.mean)),
    )


def axis_of(points: Sequence[Point]) -> Axis:
    """A round range that holds all points, a little more where they are all alike."""
    low = _tame(min((point.low for point in points), default=0.0))
    high = _tame(max((point.high for point in points), default=1.0))
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-300):
        margin = abs(high) * 0.05 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / VALUE_LINES
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * (1 - 1e-9))
    bottom = math.floor(low / step + 1e-9) * step
    top = math.ceil(high / step - 1e-9) * step
    return Axis(bottom, max(top, bottom + step), step)


def label(value: float, step: float) -> str:
    """A value on the axis, with the decimals that tell it from the next."""
    if abs(value) < step / 1000:
        value = 0.0
    if max(abs(value), step) >= 1e6 or step < 1e-6:
        return f"{value:.4g}".replace("-", MINUS)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not (step * 10**decimals).is_integer() and round(step * 10**decimals, 6) % 1:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def time_ticks(span: TimeSpan, zone: tzinfo | None) -> list[Tick]:
    """Labels at both ends and at round times between them."""
    first, last = span.first.timestamp(), span.last.timestamp()
    seconds = last - first
    inner = [
        Tick(round(at, 2), _inner_label(moment, seconds))
        for moment in _round_times(span, zone)
        if NEAR_END < (at := _percent(_instant(moment, zone), span)) < 100 - NEAR_END
    ]
    return [
        Tick(0.0, _end_label(local(first, zone), seconds)),
        *inner,
        Tick(100.0, _end_label(local(last, zone), seconds)),
    ]


def _round_times(span: TimeSpan, zone: tzinfo | None) -> list[datetime]:
    """Round local times within the span, as wall clocks show them (without a zone), few enough to be labelled."""
    first = local(span.first.timestamp(), zone).replace(tzinfo=None)
    seconds = span.seconds
    room = TIME_LABELS - 1
    step = next((step for step in _TIME_STEPS if seconds / step <= room), None)
    found: list[datetime] = []
    if step is not None:
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + timedelta(seconds=((first - midnight).total_seconds() // step + 1) * step)
        while (moment - first).total_seconds() < seconds:
            found.append(moment)
            moment += timedelta(seconds=step)
        return found
    months = next((months for months in _MONTHS if seconds / (months * 30.4 * _DAY) <= room), _MONTHS[-1])
    index = (first.year * 12 + first.month - 1) // months + 1
    while True:
        moment = datetime(index * months // 12, index * months % 12 + 1, 1)  # noqa: DTZ001 - a wall clock's
        if (moment - first).total_seconds() >= seconds:
            return found
        found.append(moment)
        index += 1


def _instant(moment: datetime, zone: tzinfo | None) -> float:
    return (moment if zone is None else moment.replace(tzinfo=zone)).timestamp()


def _inner_label(moment: datetime, seconds: float) -> str:
    if seconds > 300 * _DAY:
        return f"{moment:%b %Y}"
    if seconds > 14 * _DAY:
        return f"{moment:%-d %b}"
    if moment.hour == moment.minute == moment.second == 0:
        return f"{moment:%a %-d}" if seconds > 2 * _DAY else f"{moment:%a} 00:00"
    return f"{moment:%H:%M:%S}" if seconds <= 5 * _MINUTE else f"{moment:%H:%M}"


def _end_label(moment: datetime, seconds: float) -> str:
    if seconds > 300 * _DAY:
        return f"{moment:%-d %b %Y}"
    return f"{moment:%-d %b}" if seconds > 2 * _DAY else f"{moment:%a %H:%M}"


def _runs(series: Series) -> list[list[Point]]:
    """Points that belong together."""
    runs: list[list[Point]] = []
    usual = series.usual_distance
    for point in series.points:
        if runs and point.at - runs[-1][-1].at <= usual:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _line(run: Sequence[Point], series: Series, axis: Axis) -> str:
    places = [_place(point.at, point.mean, series, axis) for point in run]
    return f"M{'L'.join(places)}" if len(places) > 1 else f"M{places[0]}h.1"


def _area(run: Sequence[Point], series: Series, axis: Axis) -> str:
    places = [_place(point.at, point.mean, series, axis) for point in run]
    left, right = places[0].partition(" ")[0], places[-1].partition(" ")[0]
    return f"M{'L'.join(places)}L{right} {PLOT_HEIGHT}L{left} {PLOT_HEIGHT}Z"


def _envelope(run: Sequence[Point], series: Series, axis: Axis) -> str:
    over = [_place(point.at, point.high, series, axis) for point in run]
    under = [_place(point.at, point.low, series, axis) for point in reversed(run)]
    return f"M{'L'.join(over + under)}Z"


def _place(at: float, value: float, series: Series, axis: Axis) -> str:
    x = PLOT_WIDTH * _percent(at + series.step / 2, series.span) / 100
    return f"{_short(x)} {_short(axis.height(value))}"


def _box(first: float, last: float, span: TimeSpan) -> Box:
    x = _percent(first, span)
    return Box(round(x, 2), round(_percent(last, span) - x, 2))


def _percent(at: float, span: TimeSpan) -> float:
    return min(max(100 * (at - span.first.timestamp()) / span.seconds, 0.0), 100.0)


def _tame(value: float) -> float:
    return min(max(value, -HUGE), HUGE)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
