"""The list of windows as its page shows it: when in words, this week at a glance, the next start."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from math import ceil

from appliance.alerts.maintenance.occurrences import occurrences, over_at
from appliance.alerts.maintenance.window import Once
from appliance.local_time import start_of_day, wall_clock, zone_of
from appliance.web.maintenance import labels
from appliance.web.maintenance.actions import KnownWindow, WindowPage, WindowState

WEEK = 7
"""Days."""


@dataclass(frozen=True, slots=True)
class WeekBar:
    """An occurrence in the picture of the week: in percent of its width."""

    x: float
    width: float
    kind: str
    """``past``, ``active`` or ``planned``."""


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window as a row of the list."""

    known: KnownWindow
    when: str
    repeats: str
    """``once`` or ``weekly``."""
    devices: int
    covers: str
    week: list[WeekBar]
    now_x: float
    """The present, in percent of the week."""
    next: str
    next_sub: str


def rows_of(page: WindowPage, now: float) -> list[WindowRow]:
    """Return the rows of a page."""
    return [_row(known, page, now) for known in page.windows]


def week_of(now: float, zone: tzinfo | None) -> str:
    """Return the week of ``now``: ``23 to 29 November``."""
    monday = _monday(now, zone)
    sunday = monday + timedelta(days=WEEK - 1)
    first = f"{monday:%-d}" if monday.month == sunday.month else f"{monday:%-d %B}"
    return f"{first} to {sunday:%-d %B}"


def covered(known: KnownWindow, page: WindowPage) -> str:
    """Return what a window covers, in words."""
    window = known.window
    names = {site: name for (tenant_id, site), name in page.site_names.items() if tenant_id == window.tenant_id}
    return labels.covers(window.coverage, names)


def _row(known: KnownWindow, page: WindowPage, now: float) -> WindowRow:
    window, zone = known.window, zone_of(known.window.time_zone)
    today = wall_clock(now, zone).date()
    text, sub = _next(known, now, zone)
    return WindowRow(
        known,
        labels.when(window.schedule, today),
        "once" if isinstance(window.schedule, Once) else "weekly",
        page.devices.get(window.window_id, 0),
        covered(known, page),
        _bars(known, now, zone),
        _share(now, _monday(now, zone), zone),
        text,
        sub,
    )


def _next(known: KnownWindow, now: float, zone: tzinfo | None) -> tuple[str, str]:
    if known.active is not None:
        return "Active now", f"ends in {labels.lasting(ceil((known.active.end - now) / 60))}"
    if known.following is not None:
        text = labels.near(known.following.start, zone, now)
        return text[:1].upper() + text[1:], "next start"
    over = over_at(known.window.schedule, known.window.time_zone, known.window.ended_at)
    return "Ended", "" if over is None else labels.day(wall_clock(over, zone).date(), wall_clock(now, zone).date())


def _bars(known: KnownWindow, now: float, zone: tzinfo | None) -> list[WeekBar]:
    monday = _monday(now, zone)
    first, last = (start_of_day(monday + timedelta(days=days), zone) for days in (0, WEEK))
    bars = []
    for one in occurrences(known.window, first, last):
        if one.end <= known.window.created_at.timestamp():
            continue  # it was made later
        x = _share(max(one.start, first), monday, zone)
        width = (100.0 if one.end >= last else _share(one.end, monday, zone)) - x
        kind = "past" if one.end <= now else "active" if one.start <= now else "planned"
        bars.append(WeekBar(round(x, 2), round(max(width, 0.9), 2), kind))
    return bars


def _share(at: float, monday: date, zone: tzinfo | None) -> float:
    """Return where an instant of the week is, in percent, as a wall clock shows it: each day is as wide as another."""
    passed = wall_clock(at, zone) - datetime.combine(monday, datetime.min.time())
    return round(min(max(100 * passed / timedelta(days=WEEK), 0.0), 100.0), 2)


def _monday(now: float, zone: tzinfo | None) -> date:
    today = wall_clock(now, zone).date()
    return today - timedelta(days=today.weekday())


def active_sentence(page: WindowPage, now: float) -> str:
    """Return what the active windows of a page do, in one sentence; empty without one."""
    active = [one for one in page.windows if one.state is WindowState.ACTIVE and one.active is not None]
    if len(active) != 1:
        return (
            "The alerts of what they cover are recorded and shown; notices wait until the windows end."
            if active
            else ""
        )
    [known] = active
    assert known.active is not None  # noqa: S101 - narrows the type
    what = covered(known, page)
    until = labels.until(known.active.end, zone_of(known.window.time_zone), now)
    return f"{what} is in maintenance until {until}. Alerts are recorded and shown; notices wait until the window ends."
