"""Local time: days, steps and spans as a wall clock shows them in a zone, reckoned one by one.

A day has 23, 24 or 25 hours, and some zones change their clock by half an hour, at midnight, or by a whole day. So
nothing here adds seconds to an origin: each edge is looked up in the zone by itself. Instants are seconds since 1970
UTC; a ``zone`` of None is the machine's own. Rules for what a wall clock does not show exactly once:

- A time that comes twice means the first; for the end of a span, the last.
- A time that does not exist moves forward by as much as the clock did: 02:30 becomes 03:30 (RFC 5545, section 3.3.5).
- A day, or a step, whose first time does not exist begins when the clock is moved.

Steps of up to an hour are elapsed time, since an hour has 60 minutes everywhere; longer ones follow the wall clock.
"""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from appliance import zones

HOUR = 3600
DAY = 24 * HOUR
"""Seconds of a step as it is called: a step of a day is a day of the calendar, whatever its length."""

log = structlog.get_logger(__name__)


def zone_of(name: str | None) -> tzinfo | None:
    """Return the zone of this name, old or present; None, the machine's own, without a name or if it has no data of it.

    What it lacks is logged, once a name: the zone was there when it was stored.
    """
    if name is None:
        return None
    stored = zones.name_of(name)
    try:
        if stored is not None:
            return ZoneInfo(stored)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # gone since the names were looked up, damaged, unreadable
        if stored == zones.ALWAYS:
            return UTC
    _warn_of(name)
    return None


@cache
def _warn_of(name: str) -> None:
    log.warning("time zone unknown to this machine, its own is used", zone=name[: zones.MAX_NAME])


def wall_clock(at: float, zone: tzinfo | None) -> datetime:
    """Return what a wall clock shows at an instant, without a zone; never the next second, however near it is."""
    second = math.floor(at)
    shown = datetime.fromtimestamp(second, zone)
    return shown.replace(tzinfo=None, microsecond=min(round((at - second) * 1_000_000), 999_999))


def instant(wall: datetime, zone: tzinfo | None) -> float:
    """Return when a wall clock shows this time, which is without a zone."""
    return wall.replace(tzinfo=zone, fold=0).timestamp()


def last_instant(wall: datetime, zone: tzinfo | None) -> float:
    """Return when a wall clock shows this time, which is without a zone; of a time that comes twice, the last."""
    return max(wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))


def start_of_day(day: date, zone: tzinfo | None) -> float:
    """Return the first instant of a day; of a day that a zone skipped, that of the next. Raises OverflowError."""
    return _begin(datetime.combine(day, time()), zone)


def midnight(at: float, zone: tzinfo | None) -> float:
    """Return the start of the day that ``at`` is in."""
    return start_of_day(wall_clock(at, zone).date(), zone)


def days_later(at: float, days: int, zone: tzinfo | None) -> float:
    """Return the same time of day so many days later, or earlier for a negative number. Raises OverflowError."""
    wall = wall_clock(at, zone)
    return at if days == 0 else instant(wall + timedelta(days=days), zone)


def whole_days(first: float, last: float, zone: tzinfo | None) -> int:
    """Return the number of whole days from ``first`` to ``last``, which is not earlier."""
    days = (wall_clock(last, zone).date() - wall_clock(first, zone).date()).days
    return days - 1 if days > 0 and days_later(first, days, zone) > last else days


def edges(first: float, last: float, step: int, zone: tzinfo | None) -> Iterator[float]:
    """Yield the edges of the steps that hold ``first`` to ``last``: the first not after, the last not before them.

    ``step`` is a number of seconds: a divisor of a day, or a multiple of it. Multiples of a day are counted from the
    day of ``first``. Each edge is later than the one before it; where the clock is changed, a step may be longer or
    shorter than ``step``. Raises OverflowError past the year 9999.
    """
    if step <= HOUR:
        yield from _elapsed(first, last, step, zone)
        return
    wall = wall_clock(first, zone).replace(minute=0, second=0, microsecond=0, fold=0)
    wall = wall.replace(hour=0 if step >= DAY else wall.hour - wall.hour % (step // HOUR))
    edge = _begin(wall, zone)
    while True:
        wall += timedelta(seconds=step)
        following = _begin(wall, zone)
        if following <= edge:  # a day that the zone skipped
            continue
        if following > first:
            yield edge
            if edge >= last:
                return
        edge = following


def newest_edges(now: float, step: int, count: int, zone: tzinfo | None) -> list[float]:
    """Return the edges, one more than ``count``, of the newest steps, the last of which is the one of ``now``."""
    first = now - count * step - (step if step <= HOUR else max(step, DAY))
    return list(edges(first, math.floor(now) + 1, step, zone))[-count - 1 :]


def _elapsed(first: float, last: float, step: int, zone: tzinfo | None) -> Iterator[float]:
    """Yield edges every ``step`` seconds, round within the hour of the wall clock at ``first``."""
    second = math.floor(first)
    wall = wall_clock(second, zone)
    edge = second - (wall.minute * 60 + wall.second) % step
    while edge < last:
        yield float(edge)
        edge += step
    yield float(edge)


def _begin(wall: datetime, zone: tzinfo | None) -> float:
    """Return the first instant at which a wall clock shows this time, in whole seconds, or a later one."""
    at = instant(wall, zone)
    if wall_clock(at, zone) == wall:
        return at
    before, after = wall.replace(tzinfo=zone, fold=1).timestamp(), at  # the clock is moved between these
    while after - before > 1:
        middle = (before + after) // 2
        if wall_clock(middle, zone) < wall:
            before = middle
        else:
            after = middle
    return after
