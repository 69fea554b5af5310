"""A maintenance window: what it covers, and when it is active, as people say it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from uuid import UUID


class Weekday(StrEnum):
    """The days of the week, as the API and the database name them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEKDAYS = tuple(Weekday)
"""In the order of ``date.weekday()``: Monday is 0."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The devices of a window: those that any of the three lists names; with all of them empty, the whole tenant."""

    site_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Return whether the window is about the whole tenant, alerts that no device causes included."""
        return not (self.site_ids or self.tags or self.device_ids)

    def covers(self, site_id: str | None, device_id: str | None, tags: Collection[str]) -> bool:
        """Return whether the window is about a device, or about an alert of a site if ``device_id`` is None."""
        return (
            self.everything
            or device_id in self.device_ids
            or site_id in self.site_ids
            or not set(self.tags).isdisjoint(tags)
        )


@dataclass(frozen=True, slots=True)
class Once:
    """From one local time to another, each without a zone. ``ends`` is later than ``starts``."""

    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Weekly:
    """On days of every week, from a local time on."""

    weekdays: frozenset[Weekday]
    """The days on which it starts; at least one."""
    start_time: time
    length: int
    """Minutes on the wall clock from start to end: the end is a local time too. Past midnight it is on the next day."""
    until: date | None = None
    """The last day on which it may start; None: without an end."""


Schedule = Once | Weekly


@dataclass(frozen=True, slots=True)
class WindowDraft:
    """A window as a person describes it."""

    name: str
    reason: str
    """Shown with each alert that it covers; may be empty."""
    coverage: Coverage
    schedule: Schedule
    time_zone: str | None = None
    """None: that of the site if it covers exactly one, else that of the tenant."""


@dataclass(frozen=True, slots=True)
class Window:
    """A row of ``maintenance_windows``."""

    tenant_id: str
    window_id: UUID
    name: str
    reason: str
    coverage: Coverage
    schedule: Schedule
    time_zone: str
    """The zone of its local times."""
    ended_at: float | None
    """When a person ended it, in seconds since 1970: of a weekly window, the occurrence that was active then."""
    created_at: datetime
    created_by: str
    version: datetime
    """When it was last changed; an edit names the version it started from."""
