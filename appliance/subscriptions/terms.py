"""Terms reckoned in days of the tenant's calendar: the last full day, the end after it, and the end of a longer term.

A term ends at an instant. People see the last day, in the tenant's time zone, that the term covers completely, and buy
days of that calendar: across a change of the clock a day has 23 or 25 hours. Sales, renewals, previews, notices, pages
and CSV all use these functions, so that two of them never name different days.
"""

from datetime import UTC, date, datetime, timedelta, tzinfo

from appliance import local_time

_DAY = timedelta(days=1)


def last_full_day(end: datetime, zone: tzinfo | None) -> date:
    """Return the last day that a term which ends at ``end`` covers completely."""
    return local_time.wall_clock(end.timestamp(), zone).date() - _DAY


def last_day_text(end: datetime, zone: tzinfo | None) -> str:
    """Return the last full day as every page, alert and notice writes it: ``28 Dec 2026``."""
    return f"{last_full_day(end, zone):%-d %b %Y}"


def end_after(day: date, zone: tzinfo | None) -> datetime:
    """Return the end of a term whose last full day is ``day``. Raises OverflowError for ``date.max``."""
    return datetime.fromtimestamp(local_time.start_of_day(day + _DAY, zone), UTC)


def extended(end: datetime, days: int, zone: tzinfo | None) -> datetime:
    """Return ``end`` moved by so many days of the calendar: the last full day moves by exactly ``days``.

    An end at the start of a day stays at the start of one; any other keeps its time of day. A time of day that does not
    exist moves forward with the clock, but never into the next day. Raises OverflowError past the year 9999.
    """
    at = end.timestamp()
    wall = local_time.wall_clock(at, zone)
    if at == local_time.start_of_day(wall.date(), zone):
        return end_after(wall.date() + timedelta(days=days) - _DAY, zone)
    later = local_time.days_later(at, days, zone)
    day = wall.date() + timedelta(days=days)
    if local_time.wall_clock(later, zone).date() != day:  # the clock is moved over midnight
        later = local_time.start_of_day(day + _DAY, zone) - 1
    return datetime.fromtimestamp(later, UTC)


def whole_days_left(end: datetime, now: datetime, zone: tzinfo | None) -> int:
    """Return the whole days from ``now`` until ``end``, by the calendar; 0 after it."""
    return local_time.whole_days(now.timestamp(), max(now, end).timestamp(), zone)
