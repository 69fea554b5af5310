"""The form of a window: what was typed, what is filled in, and what a draft would do, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from appliance.alerts.maintenance.occurrences import ChangedNight
from appliance.alerts.maintenance.validation import DAY, MAX_NAME, MAX_REASON
from appliance.alerts.maintenance.window import WEEKDAYS, Coverage, Once, Schedule, Weekday, Weekly, Window, WindowDraft
from appliance.errors import Invalid
from appliance.local_time import wall_clock, zone_of
from appliance.web.maintenance import labels
from appliance.web.maintenance.actions import DraftPreview
from appliance.web.maintenance.drafts import GivenSchedule, ScheduleKind, given_of, local, schedule_of
from appliance.web.page.forms import Fields

MAX_LIST = 20_000
"""Characters of all tags, or of all ids of devices."""
MOST_NIGHTS = 4
"""Nights with a change of the clock that a preview names."""
TEXTS = ("name", "reason", "kind", "starts", "ends", "start_time", "end_time", "more_days", "until", "time_zone")
LISTED = ("which", "tags", "device_ids", "version")
ENDS = (("0", "the same or the next day"), ("1", "one day later"), *((f"{n}", f"{n} days later") for n in range(2, 6)))
"""When the end of a weekly window is, counted from the first such time after its start."""


@dataclass(frozen=True, slots=True)
class Given:
    """The form as it is filled in."""

    texts: Mapping[str, str] = field(default_factory=dict)
    weekdays: Sequence[str] = ()
    site_ids: Sequence[str] = ()

    def get(self, name: str) -> str:
        """Return a text; empty if there is none."""
        return self.texts.get(name, "")


def typed(fields: Fields) -> Given:
    """Return the form as it was sent, valid or not."""
    texts = {name: fields.typed(name) for name in (*TEXTS, *LISTED)}
    return Given(texts, fields.many("weekdays"), fields.many("site_ids"))


def filled(window: Window) -> Given:
    """Return the form of a window as it is kept."""
    times, coverage = given_of(window.schedule), window.coverage
    texts = {
        "name": window.name,
        "reason": window.reason,
        "kind": times.kind.value,
        "starts": times.starts,
        "ends": times.ends,
        "start_time": times.start_time,
        "end_time": times.end_time,
        "more_days": str(((times.length_minutes or 1) - 1) // DAY),
        "until": times.until,
        "time_zone": window.time_zone,
        "which": "all" if coverage.everything else "some",
        "tags": ", ".join(coverage.tags),
        "device_ids": ", ".join(coverage.device_ids),
        "version": window.version.isoformat(),
    }
    return Given(texts, [day.value for day in times.weekdays], coverage.site_ids)


def repeated(window: Window, now: float) -> Given:
    """Return the form of a new window like another; one that was once is moved by whole weeks, until it is to come."""
    given = filled(window)
    texts = dict(given.texts) | {"version": "", "until": ""}
    if isinstance(window.schedule, Once):
        behind = wall_clock(now, zone_of(window.time_zone)) - window.schedule.starts
        moved = timedelta(weeks=max(behind // timedelta(weeks=1) + 1, 0))
        texts |= {"starts": local(window.schedule.starts + moved), "ends": local(window.schedule.ends + moved)}
    return Given(texts, given.weekdays, given.site_ids)


def draft_of_window(window: Window) -> WindowDraft:
    """Return a window as it is kept, as what people said of it."""
    return WindowDraft(window.name, window.reason, window.coverage, window.schedule, window.time_zone)


def draft_of(fields: Fields) -> WindowDraft:
    """Return the window that was typed. Raises Invalid with the field."""
    return WindowDraft(
        fields.needed("name", "Give the window a name.", most=MAX_NAME),
        fields.text("reason", most=MAX_REASON),
        _coverage(fields),
        _schedule(fields),
        fields.text("time_zone", most=64) or None,
    )


def _coverage(fields: Fields) -> Coverage:
    which = fields.text("which", most=8)
    if which == "all":
        return Coverage()
    if which != "some":
        raise Invalid("Say what the window covers.", "which")
    coverage = Coverage(
        tuple(dict.fromkeys(filter(None, fields.many("site_ids")))),
        _separated(fields.text("tags", most=MAX_LIST)),
        _separated(fields.text("device_ids", most=MAX_LIST)),
    )
    if coverage.everything:
        raise Invalid("Choose a site, or name a tag or a device. For all of them, choose the whole tenant.", "which")
    return coverage


def _separated(text: str) -> tuple[str, ...]:
    """Return the parts between commas, each once, in their order."""
    return tuple(dict.fromkeys(part for part in map(str.strip, text.split(",")) if part))


def _schedule(fields: Fields) -> Schedule:
    kind = fields.choice("kind", ScheduleKind)
    schedule = schedule_of(
        GivenSchedule(
            kind,
            fields.text("starts", most=32),
            fields.text("ends", most=32),
            _weekdays(fields.many("weekdays")),
            fields.text("start_time", most=16),
            fields.text("end_time", most=16),
            None,
            fields.text("until", most=16),
        )
    )
    more = fields.whole("more_days", least=0, most=len(ENDS) - 1) or 0
    if isinstance(schedule, Once) or not more:
        return schedule
    return Weekly(schedule.weekdays, schedule.start_time, schedule.length + more * DAY, schedule.until)


def _weekdays(given: Sequence[str]) -> list[Weekday]:
    try:
        return [Weekday(one) for one in given]
    except ValueError:
        raise Invalid("Choose days of the week.", "weekdays") from None


@dataclass(frozen=True, slots=True)
class ShownPreview:
    """What a draft would do, in words."""

    when: str
    lasts: str
    next: str
    then: str
    """Empty for a window that has no other time."""
    active: bool
    devices: int
    grows: bool
    """Whether devices that come later are covered too."""
    overlaps: list[Window]
    nights: list[str]


def shown(preview: DraftPreview, coverage: Coverage, now: float) -> ShownPreview:
    """Return a preview as the page shows it."""
    zone = zone_of(preview.time_zone)
    today = wall_clock(now, zone).date()
    times = [labels.occurrence(one, zone, now) for one in preview.next]
    nights = [_night(night, preview) for night in preview.changed_nights]
    more = f"{len(nights) - MOST_NIGHTS} more nights like these in the next year."
    return ShownPreview(
        f"{labels.when(preview.schedule, today)}, {preview.time_zone}",
        _lasts(preview.schedule),
        times[0] if times else "not in the next five weeks",
        times[1] if len(times) > 1 else "",
        bool(preview.next) and preview.next[0].start <= now,
        preview.devices,
        coverage.everything or bool(coverage.site_ids or coverage.tags),
        preview.overlaps,
        nights[:MOST_NIGHTS] + ([more] if len(nights) > MOST_NIGHTS else []),
    )


def _lasts(schedule: Schedule) -> str:
    if isinstance(schedule, Once):
        return labels.lasting(int((schedule.ends - schedule.starts).total_seconds()) // 60)
    count = len(schedule.weekdays)
    often = {1: "once a week", 2: "twice a week", len(WEEKDAYS): "every day"}.get(count, f"{count} times a week")
    return f"{labels.lasting(schedule.length)}, {often}"


def _night(night: ChangedNight, preview: DraftPreview) -> str:
    zone = zone_of(preview.time_zone)
    moves = "go forward" if night.forward else "go back"
    lasts = night.end - night.start
    start, end = wall_clock(night.start, zone), wall_clock(night.end, zone)
    effect = f"lasts {labels.lasting(int(lasts) // 60)}"
    if lasts == night.planned:
        effect = f"is from {start:%H:%M} to {end:%H:%M}"
    return f"On {night.day:%-d %B %Y} clocks {moves} and the window {effect}."
