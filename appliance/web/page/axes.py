"""Axes of charts: round ranges of values, round times, and their labels. Positions are in percent of the axis.

Times are shown in a zone and are reckoned one by one in it, so that they stay round where the clock is changed.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from appliance.history.series import TimeSpan
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
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS = (
    1, 5, 15, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR,
    6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY,
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
        Tick(round(at, 2), _inner_label(moment, seconds))
        for moment in _round_times(span, zone)
        if END_CLEARANCE < (at := time_percent(_instant(moment, zone), span)) < 100 - END_CLEARANCE
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


def _round_times(span: TimeSpan, zone: tzinfo | None) -> list[datetime]:
    """Return round local times within the span, few enough to be labelled, as a wall clock shows them (no zone)."""
    first = local(span.first.timestamp(), zone).replace(tzinfo=None)
    seconds = span.seconds
    room = MAX_TIME_LABELS - 1
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
        moment = datetime(index * months // 12, index * months % 12 + 1, 1)  # noqa: DTZ001 - of a wall clock
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


def _bounded(value: float) -> float:
    return min(max(value, -MAX_VALUE), MAX_VALUE)
