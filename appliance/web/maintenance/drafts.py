"""Makes a window of what was typed or sent. Faults name the field; what they say is in the domain."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from appliance.alerts.maintenance.validation import length_until
from appliance.alerts.maintenance.window import WEEKDAYS, Once, Schedule, Weekday, Weekly
from appliance.errors import Invalid


class ScheduleKind(StrEnum):
    """How often a window is active."""

    ONCE = "once"
    WEEKLY = "weekly"


@dataclass(frozen=True, slots=True)
class GivenSchedule:
    """A schedule as texts; empty where nothing is given."""

    kind: ScheduleKind
    starts: str = ""
    ends: str = ""
    weekdays: Collection[Weekday] = ()
    start_time: str = ""
    end_time: str = ""
    length_minutes: int | None = None
    """Instead of ``end_time``, for a window that lasts longer than a day."""
    until: str = ""


def schedule_of(given: GivenSchedule) -> Schedule:
    """Return a schedule. Raises Invalid with the field: for what is missing, and for text that is no time."""
    if given.kind is ScheduleKind.ONCE:
        return Once(_moment(given.starts, "starts"), _moment(given.ends, "ends"))
    start = _time(given.start_time, "start_time")
    if given.length_minutes is not None and given.end_time:
        raise Invalid("Give either the end or the length, not both.", "length_minutes")
    length = given.length_minutes
    if length is None:
        length = length_until(start, _time(given.end_time, "end_time"))
    return Weekly(frozenset(given.weekdays), start, length, _date(given.until) if given.until else None)


def given_of(schedule: Schedule) -> GivenSchedule:
    """Return a schedule as texts."""
    if isinstance(schedule, Once):
        return GivenSchedule(ScheduleKind.ONCE, local(schedule.starts), local(schedule.ends))
    return GivenSchedule(
        ScheduleKind.WEEKLY,
        weekdays=tuple(day for day in WEEKDAYS if day in schedule.weekdays),
        start_time=f"{schedule.start_time:%H:%M}",
        end_time=f"{end_time(schedule):%H:%M}",
        length_minutes=schedule.length,
        until="" if schedule.until is None else schedule.until.isoformat(),
    )


def end_time(weekly: Weekly) -> time:
    """Return the time of day at which a weekly window ends."""
    return (datetime.combine(date(2000, 1, 1), weekly.start_time) + timedelta(minutes=weekly.length)).time()


def local(moment: datetime) -> str:
    """Return a local time as it is typed and sent: ``2026-12-02T08:00``."""
    return moment.isoformat(timespec="minutes")


def _moment(text: str, field: str) -> datetime:
    if not text:
        raise Invalid("Give a day and a time, as in 2026-12-02T08:00.", field)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a day and a local time as in 2026-12-02T08:00.", field) from None


def _time(text: str, field: str) -> time:
    if not text:
        raise Invalid("Give a time of day, as in 22:00.", field)
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a time of day as in 22:00.", field) from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a day as in 2027-03-01, or leave it empty for no end.", "until") from None
