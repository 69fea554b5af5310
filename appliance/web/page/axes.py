"""Axes of charts: round ranges of values, round times, and their labels. Positions are in percent of the axis.

Times are shown in a zone and are reckoned one by one in it (local_time), so that they stay round where the clock is
changed; a label says what the wall clock shows there.
"""

import math
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from appliance import local_time
from appliance.history.series import TimeSpan
from appliance.local_time import DAY, HOUR
from appliance.web.page.formats import MINUS, local

INTERVALS = 4
"""Intervals on an axis that starts at 0."""
VALUE_INTERVALS = 5
"""Intervals on an axis of any values, about."""
MAX_TIME_LABELS = 6
"""Labels on an axis of time, both ends included."""
END_CLEARANCE = 12.0
"""Percent of the width that an inner label keeps from both ends."""
MAX_VALUE = 1e300
"""A larger value is drawn as this: the height of an axis must be a finite number."""
_STEPS = (1, 2, 2.5, 5, 10)
_MINUTE = 60
_TIME_STEPS = (
    1, 5, 15, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, HOUR, 2 * HOUR, 3 * HOUR,
    6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY,
)  # fmt: skip
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, ``at`` in percent from the left or the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """A round range of values."""

    bottom: float
    top: float
    step: float

    def share(self, value: float) -> float:
        """Return the distance of a value from the top, as a share of the height from 0 to 1."""
        above_bottom = (_bounded(value) - self.bottom) / (self.top - self.bottom)
        return 1 - min(max(above_bottom, 0.0), 1.0)

    def ticks(self) -> list[Tick]:
        """Return labels from the top down."""
        count = max(1, round((self.top - self.bottom) / self.step))
        return [
            Tick(100 * index / count, value_label(self.top - index * self.step, self.step))
            for index in range(count + 1)
        ]


def value_axis(low: float, high: float) -> ValueAxis:
    """Return a round range that holds ``low`` to ``high``, with some room around them if they are equal."""
    low, high = _bounded(low), _bounded(high)
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-300):
        margin = abs(high) * 0.05 or 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / VALUE_INTERVALS)
    bottom = math.floor(low / step + 1e-9) * step
    top = math.ceil(high / step - 1e-9) * step
    return ValueAxis(bottom, max(top, bottom + step), step)


def nice_top(highest: float) -> float:
    """Return the smallest round number at or above ``highest`` that four even steps from 0 reach."""
    return _round_step(highest / INTERVALS) * INTERVALS if highest > 0 else 1.0


def value_ticks(top: float) -> list[Tick]:
    """Return labels from ``top`` down to 0."""
    values = [top * (INTERVALS - index) / INTERVALS for index in range(INTERVALS + 1)]
    return [Tick(100 * index / INTERVALS, f"{value:,.6g}") for index, value in enumerate(values)]


def value_label(value: float, step: float) -> str:
    """Return a value with as many decimals as distinguish it from its neighbour, ``step`` away."""
    if abs(value) < step / 1000:
        value = 0.0
    if max(abs(value), step) >= 1e6 or step < 1e-6:
        return f"{value:.4g}".replace("-", MINUS)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not (step * 10**decimals).is_integer() and round(step * 10**decimals, 6) % 1:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def time_percent(at: float, span: TimeSpan) -> float:
    """Return where ``at`` (seconds since 1970 UTC) stands in the span; outside of it, its nearer end."""
    return min(max(100 * (at - span.first.timestamp()) / span.seconds, 0.0), 100.0)


def time_ticks(span: TimeSpan, zone: tzinfo | None) -> list[Tick]:
    """Return labels at both ends and at round times between them; for None, in the machine's own zone."""
    first, last = span.first.timestamp(), span.last.timestamp()
    seconds = last - first
    inner = [
        Tick(round(percent, 2), _inner_label(at, seconds, zone))
        for at in _round_times(first, last, zone)
        if END_CLEARANCE < (percent := time_percent(at, span)) < 100 - END_CLEARANCE
    ]
    return [
        Tick(0.0, _end_label(local(first, zone), seconds)),
        *inner,
        Tick(100.0, _end_label(local(last, zone), seconds)),
    ]


def _round_step(rough: float) -> float:
    """Return the smallest round number that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(size * power for size in _STEPS if size * power >= rough * (1 - 1e-9))


def _round_times(first: float, last: float, zone: tzinfo | None) -> list[float]:
    """Return round local times between two, few enough to be labelled."""
    room = MAX_TIME_LABELS - 1
    step = next((step for step in _TIME_STEPS if (last - first) / step <= room), None)
    if step is not None:
        return list(local_time.edges(first, last, step, zone))[1:-1]
    months = next((months for months in _MONTHS if (last - first) / (months * 30.4 * DAY) <= room), _MONTHS[-1])
    wall = local_time.wall_clock(first, zone)
    index = (wall.year * 12 + wall.month - 1) // months + 1
    found: list[float] = []
    while True:
        at = local_time.start_of_day(date(index * months // 12, index * months % 12 + 1, 1), zone)
        if at >= last:
            return found
        found.append(at)
        index += 1


def _inner_label(at: float, seconds: float, zone: tzinfo | None) -> str:
    shown = local(at, zone)
    if seconds > 300 * DAY:
        return f"{shown:%b %Y}"
    if seconds > 14 * DAY:
        return f"{shown:%-d %b}"
    if at == local_time.midnight(at, zone):
        return f"{shown:%a %-d}" if seconds > 2 * DAY else f"{shown:%a %H:%M}"
    return f"{shown:%H:%M:%S}" if seconds <= 5 * _MINUTE else f"{shown:%H:%M}"


def _end_label(moment: datetime, seconds: float) -> str:
    if seconds > 300 * DAY:
        return f"{moment:%-d %b %Y}"
    return f"{moment:%-d %b}" if seconds > 2 * DAY else f"{moment:%a %H:%M}"


def _bounded(value: float) -> float:
    return min(max(value, -MAX_VALUE), MAX_VALUE)
