"""The actions on maintenance windows, for pages and the API: one transaction of the current viewer each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import trio

from appliance.alerts.maintenance import store
from appliance.alerts.maintenance.occurrences import (
    ChangedNight,
    Occurrence,
    active_at,
    changed_nights,
    next_after,
    occurrences,
    over_at,
    scheduled,
)
from appliance.alerts.maintenance.window import Once, Schedule, Window, WindowDraft
from appliance.db.require import require
from appliance.devices import sites
from appliance.errors import Outdated
from appliance.local_time import DAY, zone_of
from appliance.web.access.auth import RESPONDERS, Viewer, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.page import cursor
from appliance.web.platform import Platform

OVERLAPS_WITHIN = 35 * DAY
"""Seconds ahead in which a preview looks for windows at the same time."""
NIGHTS_WITHIN = 370 * DAY
"""Seconds ahead in which a preview looks for changes of the clock: both of a year."""
LONGEST_WAIT = 4000 * DAY
"""Seconds ahead in which a window that is active once may start."""
AT_ONCE = 50
"""Windows that are reckoned before the event loop has its turn: some milliseconds."""


class WindowState(StrEnum):
    """Where a window stands."""

    ACTIVE = "active"
    PLANNED = "planned"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class KnownWindow:
    """A window as it stands at an instant."""

    window: Window
    state: WindowState
    active: Occurrence | None
    """The occurrence that is active."""
    following: Occurrence | None
    """The next one to start."""

    @property
    def position(self) -> tuple[int, float, str, str]:
        """Return its place in lists: active ones by their end, planned ones by their start, ended ones newest first."""
        rank = list(WindowState).index(self.state)
        if self.active is not None:
            edge = self.active.end
        elif self.following is not None:
            edge = self.following.start
        else:
            edge = -(over_at(self.window.schedule, self.window.time_zone, self.window.ended_at) or 0)
        return rank, edge, self.window.tenant_id, str(self.window.window_id)


@dataclass(frozen=True, slots=True)
class WindowPage:
    """A page of windows, with what is known of what they cover."""

    windows: list[KnownWindow]
    next: str | None
    counts: dict[WindowState, int]
    """Of all windows, by their state."""
    devices: dict[UUID, int]
    """The number of devices that each of the page covers."""
    site_names: dict[tuple[str, str], str]
    """The names of the sites of the page, by tenant and id."""


@dataclass(frozen=True, slots=True)
class DraftPreview:
    """What saving a draft would do."""

    schedule: Schedule
    time_zone: str
    devices: int
    """The number of devices that it covers now."""
    next: list[Occurrence]
    """The present and the next occurrence, or the next two."""
    overlaps: list[Window]
    """Other windows that are active at the same time for the same devices, in the next weeks."""
    changed_nights: list[ChangedNight]
    """Of the next year."""


class MaintenanceActions:
    """Reads and changes windows. Ids are those of paths: what can be no id raises NotFound."""

    def __init__(self, platform: Platform) -> None:
        self._access = platform.access
        self._book = platform.maintenance
        self._clock = platform.clock

    async def page(self, limit: int, after: str | None, states: Iterable[WindowState] = ()) -> WindowPage:
        """Return up to ``limit`` windows that the viewer sees, active ones first, of these states or of all.

        Raises Invalid for a cursor ``after`` that this never returned.
        """
        return await self.page_of(viewer(), tenants_shown(), limit, after, states)

    async def page_of(
        self, seen_by: Viewer, tenant_id: str | None, limit: int, after: str | None, states: Iterable[WindowState]
    ) -> WindowPage:
        """Return the same for a given viewer, of a tenant or of all."""
        position = cursor.read(after, tuple[int, float, str, str])
        wanted = set(states) or set(WindowState)
        async with self._access.reading(seen_by) as connection:
            known = await known_at(await store.of_tenant(connection, tenant_id), self._clock.settled())
            counts = {state: sum(one.state is state for one in known) for state in WindowState}
            left = [
                one
                for one in sorted(known, key=lambda one: one.position)
                if one.state in wanted and (position is None or one.position > position)
            ]
            shown = left[:limit]
            devices = await store.counts_of(connection, [one.window for one in shown])
            names = {
                (tenant_id, site_id): name
                for tenant_id, ids in _sites_of(shown).items()
                for site_id, name in (await sites.names(connection, tenant_id, ids)).items()
            }
        following = shown[-1].position if len(left) > limit else None
        return WindowPage(shown, cursor.write(following), counts, devices, names)

    async def get(self, window_id: str) -> WindowPage:
        """Return one window, as a page of its own. Raises NotFound."""
        async with self._access.reading() as connection:
            window = await store.get(connection, tenant_of(), window_of_path(window_id))
            [known] = await known_at([window], self._clock.settled())
            devices = await store.counts_of(connection, [window])
            names = await sites.names(connection, window.tenant_id, window.coverage.site_ids)
        return WindowPage([known], None, {}, devices, {(window.tenant_id, key): name for key, name in names.items()})

    async def create(self, draft: WindowDraft) -> Window:
        """Make a window. Raises Invalid with the field; Conflict at the limit of a tenant; NotFound."""
        async with self._access.changing() as connection:
            made = await store.create(connection, tenant_of(), draft, self._access.context())
        return self._told(made)

    async def edit(self, window_id: str, edited: Callable[[Window], WindowDraft], version: datetime | None) -> Window:
        """Replace a window by what ``edited`` makes of it.

        Raises Invalid with the field; NotFound; Conflict if it has changed since ``version``.
        """
        key = window_of_path(window_id)
        async with self._access.changing() as connection:
            kept = await store.get(connection, tenant_of(), key)
            if version not in (None, kept.version):
                raise Outdated(f"{kept.name} was changed by someone else; reload the page.")
            context = self._access.context()
            changed = await store.change(connection, tenant_of(), key, edited(kept), context, version=kept.version)
        return self._told(changed)

    async def end(self, window_id: str) -> Window:
        """End a window that is active. Raises NotFound; Conflict if it is not."""
        key = window_of_path(window_id)
        async with self._access.changing() as connection:
            ended = await store.end(connection, tenant_of(), key, self._access.context())
        return self._told(ended)

    async def delete(self, window_id: str) -> None:
        """Delete a window. Raises NotFound."""
        key, tenant_id = window_of_path(window_id), tenant_of()
        async with self._access.changing() as connection:
            await store.delete(connection, tenant_id, key, self._access.context())
        self._book.tenant_changed(tenant_id)

    async def preview(self, draft: WindowDraft, before: Window | None) -> DraftPreview:
        """Return what saving a draft over ``before`` would do. Raises Invalid with the field; NotFound."""
        tenant_id, now = tenant_of(), self._clock.settled()
        async with self._access.reading() as connection:
            zone = await store.checked(connection, tenant_id, draft, now, before)
            devices = await store.count_covered(connection, tenant_id, draft.coverage)
            windows = await store.of_tenant(connection, tenant_id)
            others = [one for one in windows if before is None or one.window_id != before.window_id]
            meeting = await _meeting(planned(draft.schedule, zone, now, now + OVERLAPS_WITHIN), others)
            overlaps = await store.sharing(connection, tenant_id, draft.coverage, meeting)
        ahead = LONGEST_WAIT if isinstance(draft.schedule, Once) else OVERLAPS_WITHIN
        following = planned(draft.schedule, zone, now, now + ahead)[:2]
        nights = changed_nights(draft.schedule, zone_of(zone), now, now + NIGHTS_WITHIN)
        return DraftPreview(draft.schedule, zone, devices, following, overlaps, nights)

    def _told(self, window: Window) -> Window:
        """Let this process know at once; the others learn from the database."""
        self._book.tenant_changed(window.tenant_id)
        return window


async def known_at(windows: Iterable[Window], now: float) -> list[KnownWindow]:
    """Return windows as they stand at an instant."""
    known = []
    for number, window in enumerate(windows, 1):
        active, following = active_at(window, now), next_after(window, now)
        state = WindowState.ACTIVE if active else WindowState.PLANNED if following else WindowState.ENDED
        known.append(KnownWindow(window, state, active, following))
        if number % AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return known


def planned(schedule: Schedule, time_zone: str, first: float, last: float) -> list[Occurrence]:
    """Return the occurrences of a schedule between two instants."""
    return scheduled(schedule, zone_of(time_zone), first, last)


async def _meeting(spans: list[Occurrence], others: Iterable[Window]) -> list[Window]:
    """Return the windows that are active during one of the spans."""
    if not spans:
        return []
    met = []
    for number, other in enumerate(others, 1):
        found = occurrences(other, spans[0].start, spans[-1].end)
        if any(one.start < span.end and span.start < one.end for one in found for span in spans):
            met.append(other)
        if number % AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return met


def window_of_path(text: str) -> UUID:
    """Return the id of a window. Raises NotFound."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    return require(found if str(found) == text.lower() else None, "such maintenance window")


def may_end() -> bool:
    """Return whether the viewer may end a window: whoever may silence an alert may let it be heard, too."""
    return viewer().role in RESPONDERS


def _sites_of(shown: Iterable[KnownWindow]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in shown:
        found.setdefault(one.window.tenant_id, set()).update(one.window.coverage.site_ids)
    return found
