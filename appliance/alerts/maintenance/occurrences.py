"""When a window is active: spans of time, reckoned one by one in its zone.

The rules for local times that a wall clock does not show exactly once:

- A time that does not exist moves forward by as much as the clock did, a start and an end alike. Where a start moves
  past its end that way, the end moves along: the window keeps its length and is never lost.
- A time that comes twice means the first for a start, and the last for an end.

Occurrences that touch or overlap, such as whole days of a weekend, are one. Times are seconds since 1970 UTC; a span
includes its start and excludes its end.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from appliance.alerts.maintenance.window import WEEKDAYS, Once, Schedule, Weekday, Weekly, Window
from appliance.local_time import DAY, instant, last_instant, wall_clock, zone_of

REACH = 16 * DAY
"""Seconds around an instant in which the occurrence that holds it begins and ends. A weekly window leaves a gap in each
week; where the clock is set back, that gap can be filled, and two weeks become one occurrence."""
FILLED = 180
"""Minutes of a gap that a clock which is set back can fill: it is set back by two hours at most."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a window is active, in seconds since 1970; ``end`` is excluded."""

    start: float
    end: float

    def holds(self, at: float) -> bool:
        """Return whether the window is active at this instant."""
        return self.start <= at < self.end


def occurrences(window: Window, first: float, last: float) -> list[Occurrence]:
    """Return the occurrences that have a part between ``first`` and ``last``, in order, and each of them whole."""
    found = scheduled(window.schedule, zone_of(window.time_zone), first, last)
    if window.ended_at is not None:
        found = [_cut(one, window.ended_at) for one in found]
    return [one for one in found if one.end > max(first, one.start) and one.start < last]


def active_at(window: Window, now: float) -> Occurrence | None:
    """Return the occurrence that is active now, or None."""
    return next((one for one in occurrences(window, now, now + 1) if one.holds(now)), None)


def next_after(window: Window, now: float) -> Occurrence | None:
    """Return the first occurrence that starts after ``now``, or None if there is none."""
    return next(iter(_later(window, now, 1)), None)


def next_two(window: Window, now: float) -> list[Occurrence]:
    """Return the occurrence that is active now, if there is one, and those after it: two at most."""
    active = active_at(window, now)
    return [active, *_later(window, now, 1)] if active else _later(window, now, 2)


def over_at(schedule: Schedule, time_zone: str, ended_at: float | None) -> float | None:
    """Return when the last occurrence ends, or None for a window without an end."""
    zone = zone_of(time_zone)
    if isinstance(schedule, Once):
        end = _span(schedule.starts, schedule.ends, zone)
    elif schedule.until is None:
        return None
    else:
        days = (schedule.until - timedelta(days=back) for back in range(7))
        end = _weekly_span(schedule, next(day for day in days if WEEKDAYS[day.weekday()] in schedule.weekdays), zone)
    return end.end if ended_at is None else _cut(end, ended_at).end


def scheduled(schedule: Schedule, zone: tzinfo | None, first: float, last: float) -> list[Occurrence]:
    """Return the occurrences between ``first`` and ``last`` as they are planned, each of them whole."""
    if isinstance(schedule, Once):
        spans: Iterable[Occurrence] = [_span(schedule.starts, schedule.ends, zone)]
    else:
        reach = _reach(schedule)
        spans = _weekly_spans(schedule, zone, first - reach, last + reach)
    return [one for one in _merged(spans) if one.end > first and one.start < last]


def _later(window: Window, now: float, count: int) -> list[Occurrence]:
    """Return up to ``count`` occurrences that start after ``now``."""
    if isinstance(window.schedule, Once):
        span = _span(window.schedule.starts, window.schedule.ends, zone_of(window.time_zone))
        reach = max(span.end, now + 1)
    else:
        reach = now + _reach(window.schedule) + count * 8 * DAY
    return [one for one in occurrences(window, now, reach) if one.start > now][:count]


def _reach(weekly: Weekly) -> float:
    """Return the seconds around an instant in which the occurrence that holds it begins and ends."""
    if weekly.length + FILLED < least_gap(weekly.weekdays):
        return weekly.length * 60 + 2 * DAY  # each day is an occurrence of its own
    return REACH


def least_gap(weekdays: Collection[Weekday]) -> int:
    """Return the fewest minutes on the wall clock from one start to the next."""
    days = [number for number, day in enumerate(WEEKDAYS) if day in weekdays]
    following = [*days[1:], days[0] + 7]
    return min(later - earlier for earlier, later in zip(days, following, strict=True)) * 24 * 60


def _weekly_spans(weekly: Weekly, zone: tzinfo | None, first: float, last: float) -> Iterator[Occurrence]:
    """Yield the span of each day between two instants, in order of their days."""
    day, stop = wall_clock(first, zone).date(), wall_clock(last, zone).date()
    if weekly.until is not None:
        stop = min(stop, weekly.until)
    while day <= stop:
        if WEEKDAYS[day.weekday()] in weekly.weekdays:
            yield _weekly_span(weekly, day, zone)
        day += timedelta(days=1)


def _weekly_span(weekly: Weekly, day: date, zone: tzinfo | None) -> Occurrence:
    starts = datetime.combine(day, weekly.start_time)
    return _span(starts, starts + timedelta(minutes=weekly.length), zone)


def _span(starts: datetime, ends: datetime, zone: tzinfo | None) -> Occurrence:
    """Return the span between two local times."""
    start, end = instant(starts, zone), last_instant(ends, zone)
    return Occurrence(start, end if end > start else start + (ends - starts).total_seconds())


def _merged(spans: Iterable[Occurrence]) -> list[Occurrence]:
    """Return spans, which are in order of their starts, with those that touch or overlap as one."""
    found: list[Occurrence] = []
    for span in spans:
        if found and span.start <= found[-1].end:
            found[-1] = Occurrence(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _cut(one: Occurrence, ended_at: float) -> Occurrence:
    """Return an occurrence, up to the time at which a person ended it."""
    return Occurrence(one.start, ended_at) if one.holds(ended_at) else one


@dataclass(frozen=True, slots=True)
class ChangedNight:
    """A time of a window that is not as planned, because the clock is moved."""

    day: date
    """The day on which the clock is moved."""
    forward: bool
    start: float
    end: float
    planned: float
    """Seconds that it lasts otherwise."""


def changed_nights(schedule: Schedule, zone: tzinfo | None, first: float, last: float) -> list[ChangedNight]:
    """Return the times between two instants that the clock makes longer, shorter or later, in order."""
    if isinstance(schedule, Once):
        planned = (schedule.ends - schedule.starts).total_seconds()
        spans: Iterable[Occurrence] = [_span(schedule.starts, schedule.ends, zone)]
    else:
        planned = 60.0 * schedule.length
        spans = _weekly_spans(schedule, zone, first, last)
    changed = []
    for span in spans:
        moved = _move_near(span, zone)
        late = wall_clock(span.end, zone) - wall_clock(span.start, zone) != timedelta(seconds=planned)
        if moved is not None and (late or span.end - span.start != planned or _is_later(schedule, span, zone)):
            changed.append(ChangedNight(*moved, span.start, span.end, planned))
    return [night for night in changed if night.end > first and night.start < last]


def _is_later(schedule: Schedule, span: Occurrence, zone: tzinfo | None) -> bool:
    planned = schedule.starts.time() if isinstance(schedule, Once) else schedule.start_time
    return wall_clock(span.start, zone).time() != planned


def _move_near(span: Occurrence, zone: tzinfo | None) -> tuple[date, bool] | None:
    """Return the day on which the clock is moved in a span or right before it, and whether forward."""
    at = span.start - FILLED * 60
    before = _offset(at, zone)
    while at < span.end:
        at = min(at + 900, span.end)
        after = _offset(at, zone)
        if after != before:
            return wall_clock(at, zone).date(), after > before
    return None


def _offset(at: float, zone: tzinfo | None) -> timedelta:
    return datetime.fromtimestamp(at, zone).astimezone(zone).utcoffset() or timedelta()
