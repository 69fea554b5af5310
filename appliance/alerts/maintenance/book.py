"""The windows of all tenants in memory, and which of them is active.

Enters: rows that are not over, read in one query at the first question and again of tenants whose windows changed.
Leaves: the active window that covers an alert, and active windows as lists for a statement. A question is answered
from memory; :meth:`MaintenanceBook.refresh` before it reads what changed, and nothing if nothing did.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog
import trio

from appliance.alerts.maintenance import store
from appliance.alerts.maintenance.occurrences import active_at, next_after
from appliance.alerts.maintenance.window import Window
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.runtime.periodic import First, every

MAINTENANCE_CHANNEL = "appliance_rules"
"""Windows are told of on the channel of what decides on alerts."""

REFRESH_SECONDS = 0.3
"""Between two looks for changes, which cost nothing if there is none."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ActiveWindow:
    """A window that is active, and until when, in seconds since 1970."""

    window: Window
    until: float


@dataclass(frozen=True, slots=True)
class ActiveScopes:
    """Active windows for a statement: three lists, an element for each tenant, site, tag or device that is covered.

    True of an alert that is covered: ``in_maintenance(a.tenant_id, a.site_id, a.device_id,
    %(maintenance_tenants)s::text[], %(maintenance_kinds)s::text[], %(maintenance_ids)s::text[])``.
    """

    tenants: list[str]
    kinds: list[str]
    """``all``, ``site``, ``tag`` or ``device``."""
    ids: list[str]

    @classmethod
    def none(cls) -> "ActiveScopes":
        """Return that of no window at all, as for alerts of the appliance itself."""
        return cls([], [], [])

    def parameters(self) -> dict[str, list[str]]:
        """Return the parameters of the condition."""
        return {
            "maintenance_tenants": self.tenants,
            "maintenance_kinds": self.kinds,
            "maintenance_ids": self.ids,
        }


class _Entry:
    """A window, and what is known of its present: active or not, from one instant to another."""

    __slots__ = ("_first", "_last", "_until", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self._first, self._last = math.inf, -math.inf
        self._until: float | None = None

    def until(self, now: float) -> float | None:
        """Return when the window ends if it is active, else None."""
        if not self._first <= now < self._last:
            self._reckon(now)
        return self._until

    def _reckon(self, now: float) -> None:
        active = active_at(self.window, now)
        if active is not None:
            self._first, self._last, self._until = active.start, active.end, active.end
        else:
            following = next_after(self.window, now)
            self._first, self._last, self._until = now, math.inf if following is None else following.start, None


class MaintenanceBook:
    """``changed`` and ``forget`` take what the database tells; ``refresh`` reads; the rest answers from memory."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        """``pool``: connections of a role that sees all tenants."""
        self._pool = pool
        self._clock = clock
        self._entries: dict[str, list[_Entry]] = {}
        self._stale: set[str] = set()
        self._all_stale = True
        self._reading = trio.Lock()

    def changed(self, payload: str) -> None:
        """Take one notification of MAINTENANCE_CHANNEL; one that cannot be parsed makes everything be read again."""
        try:
            message = msgspec.json.decode(payload)
            self._stale.update(message.get("tenants", ()))
            self._all_stale |= "tenants" not in message
        except (msgspec.DecodeError, AttributeError, TypeError):
            log.warning("a notification that is not understood", payload=payload[:200])
            self._all_stale = True

    def tenant_changed(self, tenant_id: str) -> None:
        """Read the windows of a tenant again: this process has changed one, and does not wait for the notification."""
        self._stale.add(tenant_id)

    def forget(self) -> None:
        """Read everything again: changes may have been missed. Until then the known windows stay in force."""
        self._all_stale = True

    async def refresh(self) -> None:
        """Read the windows that changed; ask before a question that must not be answered from outdated ones."""
        if not (self._stale or self._all_stale):
            return
        async with self._reading:
            tenants, everything = sorted(self._stale), self._all_stale
            if not (tenants or everything):  # another task has read them meanwhile
                return
            self._stale, self._all_stale = set(), False
            try:
                await self._read(None if everything else tenants)
            except BaseException:
                self._stale.update(tenants)
                self._all_stale |= everything
                raise

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read what changed, again and again: whoever asks without :meth:`refresh` gets answers of that age."""
        await every(
            REFRESH_SECONDS,
            self.refresh,
            chore="maintenance windows",
            first=First.AT_ONCE,
            task_status=task_status,
        )

    def active(self, tenant_id: str | None, now: float) -> Iterator[ActiveWindow]:
        """Yield the windows of a tenant, or of all for None, that are active."""
        known = self._entries.values() if tenant_id is None else [self._entries.get(tenant_id, [])]
        for entries in known:
            for entry in entries:
                until = entry.until(now)
                if until is not None:
                    yield ActiveWindow(entry.window, until)

    def covering(
        self, tenant_id: str, site_id: str | None, device_id: str | None, tags: Collection[str], now: float
    ) -> ActiveWindow | None:
        """Return the active window that covers an alert of a device, or of a site, or None; the one that ends last."""
        covering = [one for one in self.active(tenant_id, now) if one.window.coverage.covers(site_id, device_id, tags)]
        return max(covering, key=lambda one: one.until, default=None)

    def active_scopes(self, tenant_id: str | None, now: float) -> ActiveScopes:
        """Return what the active windows of a tenant cover, or of all tenants for None."""
        rows = sorted({row for one in self.active(tenant_id, now) for row in _rows(one.window)})
        return ActiveScopes(*(list(column) for column in zip(*rows, strict=True))) if rows else ActiveScopes.none()

    async def _read(self, tenants: list[str] | None) -> None:
        now = datetime.fromtimestamp(self._clock.settled(), UTC)
        async with self._pool.connection() as connection:
            windows = await store.not_over(connection, tenants, now)
        read: dict[str, list[_Entry]] = defaultdict(list)
        for window in windows:
            read[window.tenant_id].append(_Entry(window))
        if tenants is None:
            self._entries = {}
        for tenant_id in tenants or ():
            self._entries.pop(tenant_id, None)
        self._entries |= read


def _rows(window: Window) -> Iterator[tuple[str, str, str]]:
    coverage = window.coverage
    if coverage.everything:
        yield window.tenant_id, "all", ""
    for kind, ids in (("site", coverage.site_ids), ("tag", coverage.tags), ("device", coverage.device_ids)):
        for one in ids:
            yield window.tenant_id, kind, one
