"""What people may ask for: each fault names the field and says how to mend it.

The names of the fields are those of the API and of the form. Never: a look into the database, see :mod:`store`.
"""

from datetime import date, datetime, time, timedelta

from appliance import zones
from appliance.alerts.maintenance.occurrences import least_gap, over_at
from appliance.alerts.maintenance.window import Coverage, Once, Schedule, Weekly, WindowDraft
from appliance.devices.device import MAX_TEXT
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.local_time import wall_clock, zone_of
from appliance.plain_text import is_plain, plain

MAX_NAME = 128
"""Characters of a name."""
MAX_REASON = 512
"""Characters of a reason."""
MAX_NAMED = 200
"""Sites, tags or devices of one window. More are better named by a tag."""
MAX_ONCE = timedelta(days=366)
"""A longer time is no maintenance: devices that are not wanted are deactivated."""
MAX_AHEAD = timedelta(days=3660)
WEEK = 7 * 24 * 60
"""Minutes."""
DAY = 24 * 60
"""Minutes."""


def check_texts(draft: WindowDraft, kept_zone: str | None) -> None:
    """Raise Invalid for a name, a reason, a zone but ``kept_zone``, or a name of something covered that cannot be."""
    if not draft.name:
        raise Invalid("Give the window a name.", "name")
    for field, text, most in (("name", draft.name, MAX_NAME), ("reason", draft.reason, MAX_REASON)):
        if len(text) > most or not is_plain(text):
            raise Invalid(f"This has at most {most} characters on one line, all of which can be seen.", field)
    fault = None if draft.time_zone is None else zones.refusal(draft.time_zone, kept_zone)
    if fault is not None:
        raise Invalid(fault, "time_zone")
    _check_coverage(draft.coverage)


def check_times(schedule: Schedule, time_zone: str, now: float) -> None:
    """Raise Invalid for a schedule that cannot be, or that has nothing left from ``now`` on."""
    if isinstance(schedule, Once):
        _check_once(schedule, time_zone, now)
    else:
        _check_weekly(schedule, time_zone, now)


def length_until(start: time, end: time) -> int:
    """Return the minutes on the wall clock from a time of day to the next ``end``; to the same time, a whole day."""
    minutes = (end.hour - start.hour) * 60 + end.minute - start.minute
    return minutes if minutes > 0 else minutes + DAY


def _check_coverage(coverage: Coverage) -> None:
    for field, named in (
        ("site_ids", coverage.site_ids),
        ("tags", coverage.tags),
        ("device_ids", coverage.device_ids),
    ):
        if len(named) > MAX_NAMED:
            raise Invalid(f"Name at most {MAX_NAMED}; a tag can stand for many devices.", field)
    for tag in coverage.tags:
        if not 1 <= len(tag) <= MAX_TEXT or not is_plain(tag):
            raise Invalid(f"A tag has 1 to {MAX_TEXT} characters on one line, all of which can be seen.", "tags")
    for field, ids, what in (("site_ids", coverage.site_ids, "site"), ("device_ids", coverage.device_ids, "device")):
        for one in ids:
            if not valid_id(one):
                raise Invalid(unknown(what, one), field)


def unknown(what: str, identity: str) -> str:
    """Return the sentence about a site or device that is not there."""
    shown = plain(identity[:64])
    return f"There is no {what} {shown}. Check the id, or leave it out."


def _check_once(once: Once, time_zone: str, now: float) -> None:
    _check_local(once.starts, "starts")
    _check_local(once.ends, "ends")
    if once.ends <= once.starts:
        raise Invalid("The end must be later than the start.", "ends")
    if once.ends - once.starts > MAX_ONCE:
        raise Invalid(f"A window lasts at most {MAX_ONCE.days} days. Choose an earlier end.", "ends")
    today = wall_clock(now, zone_of(time_zone))
    if once.starts > today + MAX_AHEAD:
        raise Invalid("This is more than ten years from now. Choose an earlier start.", "starts")
    if once.ends < today - MAX_ONCE or _is_over(once, time_zone, now):
        raise Invalid("This end is in the past. Choose a later one.", "ends")


def _check_weekly(weekly: Weekly, time_zone: str, now: float) -> None:
    if not weekly.weekdays:
        raise Invalid("Choose at least one day of the week.", "weekdays")
    _check_minutes(weekly.start_time, "start_time")
    if weekly.length < 1:
        raise Invalid("The window must last at least a minute.", "length_minutes")
    if weekly.length > WEEK:
        raise Invalid("A weekly window must be shorter than a week. For a longer time, choose Once.", "length_minutes")
    if weekly.length * len(weekly.weekdays) >= WEEK:
        raise Invalid("Such a window would never end. Leave out a day, or let it last less long.", "weekdays")
    if weekly.length > least_gap(weekly.weekdays):
        raise Invalid("The window would start again before it ends. Leave out a day, or make it shorter.", "weekdays")
    if weekly.until is not None:
        _check_until(weekly, weekly.until, time_zone, now)


def _check_until(weekly: Weekly, until: date, time_zone: str, now: float) -> None:
    today = wall_clock(now, zone_of(time_zone)).date()
    if until < today:
        raise Invalid("This day is in the past. Choose a later one, or leave it empty.", "until")
    if until > today + MAX_AHEAD:
        raise Invalid("This is more than ten years from now. Leave it empty for no end.", "until")
    if _is_over(weekly, time_zone, now):
        raise Invalid("None of the chosen days is left until then. Choose a later last day.", "until")


def _is_over(schedule: Schedule, time_zone: str, now: float) -> bool:
    over = over_at(schedule, time_zone, None)
    return over is not None and over <= now


def _check_local(wall: datetime, field: str) -> None:
    if wall.tzinfo is not None:
        raise Invalid("Write a local time without an offset, as in 2026-12-02T08:00; its zone is time_zone.", field)
    _check_minutes(wall, field)


def _check_minutes(moment: time | datetime, field: str) -> None:
    if moment.tzinfo is not None:
        raise Invalid("Write a local time without an offset, as in 22:00; its zone is time_zone.", field)
    if moment.second or moment.microsecond:
        raise Invalid("Write a time in whole minutes.", field)
