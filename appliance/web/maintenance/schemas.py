"""Windows in the JSON API."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from appliance.alerts.maintenance.occurrences import Occurrence
from appliance.alerts.maintenance.window import Coverage, Weekday, Window, WindowDraft
from appliance.web.maintenance.actions import KnownWindow, WindowState
from appliance.web.maintenance.drafts import GivenSchedule, ScheduleKind, given_of, schedule_of
from appliance.web.maintenance.labels import when
from appliance.web.openapi.body import given

Meta = msgspec.Meta
LocalTime = Annotated[str, Meta(max_length=32, description="Local time of time_zone, as in 2026-12-02T08:00.")]
TimeOfDay = Annotated[str, Meta(max_length=16, description="Time of day in time_zone, as in 22:00.")]
Length = Annotated[int, Meta(description="Minutes on the wall clock, instead of end_time: at most a week.")]
LastDay = Annotated[str, Meta(max_length=16, description="The last day on which it starts, as in 2027-03-01.")]
Zone = Annotated[str, Meta(max_length=64, description="As in Europe/Oslo.")]


class WindowScope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a window covers: devices that any of the lists names; with all of them empty, the whole tenant."""

    site_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()


class WindowSpan(msgspec.Struct, frozen=True):
    """One time at which a window is active."""

    start: datetime
    end: datetime


class WindowOut(msgspec.Struct, frozen=True):
    """A maintenance window."""

    tenant_id: str
    window_id: UUID
    name: str
    reason: str
    scope: WindowScope
    kind: ScheduleKind
    starts: LocalTime | None
    ends: LocalTime | None
    weekdays: list[Weekday]
    start_time: TimeOfDay | None
    end_time: TimeOfDay | None
    length_minutes: int | None
    until: LastDay | None
    time_zone: Zone
    when: Annotated[str, Meta(description="The same in words.")]
    state: WindowState
    active: Annotated[WindowSpan | None, Meta(description="The present time, if it is active.")]
    next: Annotated[WindowSpan | None, Meta(description="The next time.")]
    ended_at: Annotated[datetime | None, Meta(description="When a person ended it.")]
    created_at: datetime
    created_by: str
    version: Annotated[datetime, Meta(description="Send it with a change; an outdated version is a conflict.")]


class WindowPageOut(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[WindowOut]
    next: str | None


class WindowQuery(msgspec.Struct, frozen=True):
    """Which windows."""

    state: Annotated[tuple[WindowState, ...], Meta(description="Any of these.")] = ()
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class WindowNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new window: one of kind ``once`` has starts and ends, one of kind ``weekly`` has weekdays and start_time.

    A weekly one has end_time or length_minutes, too.
    """

    name: str
    kind: ScheduleKind
    reason: str = ""
    scope: WindowScope = WindowScope()
    starts: LocalTime | None = None
    ends: LocalTime | None = None
    weekdays: tuple[Weekday, ...] = ()
    start_time: TimeOfDay | None = None
    end_time: TimeOfDay | None = None
    length_minutes: Length | None = None
    until: LastDay | None = None
    time_zone: Annotated[
        Zone | None, Meta(description="null: that of the site if exactly one is covered, else the tenant's.")
    ] = None


class WindowChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values, and ``scope`` is replaced as a whole."""

    name: str | UnsetType = UNSET
    kind: ScheduleKind | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    scope: WindowScope | UnsetType = UNSET
    starts: LocalTime | UnsetType = UNSET
    ends: LocalTime | UnsetType = UNSET
    weekdays: tuple[Weekday, ...] | UnsetType = UNSET
    start_time: TimeOfDay | UnsetType = UNSET
    end_time: TimeOfDay | UnsetType = UNSET
    length_minutes: Length | UnsetType = UNSET
    until: LastDay | UnsetType | None = UNSET
    time_zone: Zone | UnsetType | None = UNSET
    version: datetime | None = None


TIMES = ("kind", "starts", "ends", "weekdays", "start_time", "end_time", "length_minutes", "until")


def draft_of(new: WindowNew) -> WindowDraft:
    """Return a new window as the domain takes it. Raises Invalid with the field."""
    schedule = schedule_of(
        GivenSchedule(
            new.kind,
            new.starts or "",
            new.ends or "",
            new.weekdays,
            new.start_time or "",
            new.end_time or "",
            new.length_minutes,
            new.until or "",
        )
    )
    return WindowDraft(new.name.strip(), new.reason.strip(), _coverage(new.scope), schedule, new.time_zone)


def edited(kept: Window, change: WindowChange) -> WindowDraft:
    """Return what a change makes of a window. Raises Invalid with the field."""
    wanted = given(change)
    schedule = kept.schedule
    times = {name: wanted[name] for name in TIMES if name in wanted}
    if times:
        before = given_of(kept.schedule)
        if "end_time" not in times:
            before = replace(before, end_time="")
        elif "length_minutes" not in times:
            before = replace(before, length_minutes=None)
        schedule = schedule_of(replace(before, **times | {"until": times.get("until", before.until) or ""}))
    return WindowDraft(
        wanted.get("name", kept.name).strip(),
        wanted.get("reason", kept.reason).strip(),
        _coverage(change.scope) if change.scope is not UNSET else kept.coverage,
        schedule,
        wanted.get("time_zone", kept.time_zone),
    )


def shown(known: KnownWindow, today: date) -> WindowOut:
    """Return a window as the API shows it."""
    window, times = known.window, given_of(known.window.schedule)
    coverage = window.coverage
    return WindowOut(
        window.tenant_id,
        window.window_id,
        window.name,
        window.reason,
        WindowScope(coverage.site_ids, coverage.tags, coverage.device_ids),
        times.kind,
        times.starts or None,
        times.ends or None,
        list(times.weekdays),
        times.start_time or None,
        times.end_time or None,
        times.length_minutes,
        times.until or None,
        window.time_zone,
        when(window.schedule, today),
        known.state,
        _span(known.active),
        _span(known.following),
        None if window.ended_at is None else _moment(window.ended_at),
        window.created_at,
        window.created_by,
        window.version,
    )


def _coverage(scope: WindowScope) -> Coverage:
    return Coverage(*(tuple(dict.fromkeys(named)) for named in (scope.site_ids, scope.tags, scope.device_ids)))


def _span(one: Occurrence | None) -> WindowSpan | None:
    return None if one is None else WindowSpan(_moment(one.start), _moment(one.end))


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
