"""Windows in words: when they are, what they cover, how long they last. Pure functions."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta, tzinfo

from appliance.alerts.maintenance.occurrences import Occurrence
from appliance.alerts.maintenance.window import WEEKDAYS, Coverage, Once, Schedule, Weekday, Weekly
from appliance.local_time import wall_clock

DAY = 24 * 60
"""Minutes."""
SHOWN = 2
"""Sites, tags and devices that are named; more are counted."""


def when(schedule: Schedule, today: date) -> str:
    """Return ``Every Sat and Sun, 22:00 to 06:00``, or ``Wed 2 Dec 08:00 to Fri 4 Dec 16:00``."""
    if isinstance(schedule, Once):
        return between(schedule.starts, schedule.ends, today)
    last = "" if schedule.until is None else f", until {day(schedule.until, today)}"
    return f"{_weekly(schedule)}{last}"


def between(start: datetime, end: datetime, today: date) -> str:
    """Return a span on the wall clock, its last day only if it is another."""
    first = f"{day(start.date(), today)} {start:%H:%M}"
    return (
        f"{first} to {end:%H:%M}" if end.date() == start.date() else f"{first} to {day(end.date(), today)} {end:%H:%M}"
    )


def occurrence(one: Occurrence, zone: tzinfo | None, now: float) -> str:
    """Return an occurrence with the name of its zone at its end: ``Sat 28 Nov 23:00 to Sun 29 Nov 03:30 CET``."""
    start, end = wall_clock(one.start, zone), wall_clock(one.end, zone)
    name = f"{datetime.fromtimestamp(one.end, zone).astimezone(zone):%Z}"
    return f"{between(start, end, wall_clock(now, zone).date())} {name}"


def day(shown: date, today: date) -> str:
    """Return ``Wed 2 Dec``, with the year if it is another."""
    return f"{shown:%a %-d %b}" + ("" if shown.year == today.year else f" {shown:%Y}")


def near(at: float, zone: tzinfo | None, now: float) -> str:
    """Return ``today, 13:00``, ``tomorrow, 07:15``, else ``Sun 29 Nov, 22:00``."""
    wall, today = wall_clock(at, zone), wall_clock(now, zone).date()
    days = {today: "today", today + timedelta(days=1): "tomorrow", today - timedelta(days=1): "yesterday"}
    return f"{days.get(wall.date()) or day(wall.date(), today)}, {wall:%H:%M}"


def until(at: float, zone: tzinfo | None, now: float) -> str:
    """Return ``16:00`` of today, else with its day: ``Sun 29 Nov, 06:00``."""
    wall, today = wall_clock(at, zone), wall_clock(now, zone).date()
    return f"{wall:%H:%M}" if wall.date() == today else f"{day(wall.date(), today)}, {wall:%H:%M}"


def lasting(minutes: int) -> str:
    """Return a duration exactly: ``4 h 30 min``, ``2 d 8 h``."""
    days, rest = divmod(minutes, DAY)
    parts = ((days, "d"), (rest // 60, "h"), (rest % 60, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 min"


def covers(coverage: Coverage, site_names: Mapping[str, str]) -> str:
    """Return what is named: ``Bergen Quay, tag wash``; ``The whole tenant`` if nothing is."""
    if coverage.everything:
        return "The whole tenant"
    tags = [f"tag {tag}" for tag in coverage.tags]
    named = [site_names.get(site_id, site_id) for site_id in coverage.site_ids] + tags + list(coverage.device_ids)
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"{', '.join(named[:SHOWN])}{more}"


def weekdays(days: Collection[Weekday]) -> str:
    """Return ``Every day``, ``Mon to Fri``, or ``Every Sat and Sun``."""
    numbers = [number for number, one in enumerate(WEEKDAYS) if one in days]
    names = [WEEKDAYS[number].capitalize() for number in numbers]
    if len(numbers) == len(WEEKDAYS):
        return "Every day"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{names[0]} to {names[-1]}"
    return f"Every {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"


def _weekly(weekly: Weekly) -> str:
    start = datetime.combine(date.min, weekly.start_time)
    end = start + timedelta(minutes=weekly.length)
    if weekly.length <= DAY:
        following = " the next day" if weekly.length == DAY else ""
        return f"{weekdays(weekly.weekdays)}, {start:%H:%M} to {end:%H:%M}{following}"
    if len(weekly.weekdays) > 1:
        return f"{weekdays(weekly.weekdays)} from {start:%H:%M}, for {lasting(weekly.length)}"
    [only] = weekly.weekdays
    last = WEEKDAYS[(WEEKDAYS.index(only) + (end.date() - start.date()).days) % 7]
    return f"Every {only.capitalize()} {start:%H:%M} to {last.capitalize()} {end:%H:%M}"
