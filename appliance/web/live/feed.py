"""The live view in memory: rates and the last readings. It may lose data, newest first kept; the record is in Postgres.

``publish`` is a synchronous function that the pipeline calls after each commit; it takes microseconds a batch and never
waits. Readers poll the view at their own rate and wait in between on ``changed``.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import trio

from appliance.clock import Clock
from appliance.ingest.summary import BatchSummary, Counts, LastReading
from appliance.web.live.rates import RatePoint, RateWindow

READINGS = 50
"""Last readings kept for all tenants together, and for each tenant."""
MAX_TENANTS = 256
"""Tenants with a view of their own in memory; beyond that the least recently active is dropped."""


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """One minute of one tenant's accounting; ``minute`` is its start in seconds since 1970-01-01 UTC."""

    minute: float
    accepted: int
    refused: int
    tenant: str = ""
    """Empty: messages without a known tenant."""


class _TenantFeed:
    """The view of one tenant, or of all tenants."""

    __slots__ = ("readings", "window")

    def __init__(self, start: float) -> None:
        self.window = RateWindow(start)
        self.readings: deque[LastReading] = deque(maxlen=READINGS)


class LiveFeed:
    """Recently committed messages. ``tenant`` None means all tenants together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all = _TenantFeed(clock.monotonic())
        self._tenants: OrderedDict[str, _TenantFeed] = OrderedDict()
        self._waiting = trio.lowlevel.ParkingLot()
        self.version = 0
        """Increases with each committed batch, and when the feed is woken."""
        self.woken = 0
        """How often it was woken: what was read before may be outdated."""

    def publish(self, summary: BatchSummary) -> None:
        """Add a committed batch."""
        now = self._clock.monotonic()
        self._all.window.add(now, summary.accepted, summary.refused)
        for tenant, counts in summary.tenants.items():
            self._count(tenant, counts, now)
        self._keep(summary.last_readings)
        self._advance()

    def remember(self, readings: Iterable[LastReading], minutes: Iterable[MinuteCount]) -> None:
        """Fill an empty view at the start with readings and minutes from the database, oldest first."""
        offset = self._clock.monotonic() - self._clock.now()
        for minute in minutes:
            self._spread(minute, offset)
        self._keep(readings)
        self._advance()

    def wake(self) -> None:
        """Have every live page rendered now: something else than a batch has changed."""
        self.woken += 1
        self._advance()

    def forget_tenant(self, tenant: str) -> None:
        """Forget the view of a tenant that was removed: it is not that of the next one with its id."""
        self._tenants.pop(tenant, None)
        others = [reading for reading in self._all.readings if reading.tenant_id != tenant]
        self._all.readings.clear()
        self._all.readings.extend(others)
        self.wake()

    async def changed(self, since: int) -> None:
        """Return once a batch has been committed, or the feed was woken, after version ``since``."""
        while self.version == since:
            await self._waiting.park()

    def rate(self, tenant: str | None) -> float:
        """Return the current messages per second, refused ones included."""
        scope = self._scope(tenant)
        return 0.0 if scope is None else scope.window.current(self._clock.monotonic())

    def series(self, step: int, points: int, tenant: str | None) -> list[RatePoint]:
        """Return the last ``points`` steps of ``step`` seconds, oldest first, up to :meth:`series_end`."""
        scope = self._scope(tenant)
        if scope is None:
            return [RatePoint(None, None)] * points
        return scope.window.series(self._clock.monotonic(), step, points)

    def series_end(self, step: int) -> float:
        """Return the time at which the newest step of a series ends."""
        now = self._clock.monotonic()
        return self._clock.now() - (now - int(now) // step * step)

    def readings(self, limit: int, tenant: str | None) -> list[LastReading]:
        """Return the newest readings, newest first."""
        scope = self._scope(tenant)
        return [] if scope is None else list(islice(reversed(scope.readings), limit))

    def _scope(self, tenant: str | None) -> _TenantFeed | None:
        return self._all if tenant is None else self._tenants.get(tenant)

    def _own(self, tenant: str) -> _TenantFeed:
        scope = self._tenants.get(tenant)
        if scope is None:
            scope = self._tenants[tenant] = _TenantFeed(self._clock.monotonic())
            if len(self._tenants) > MAX_TENANTS:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(tenant)
        return scope

    def _count(self, tenant: str, counts: Counts, now: float) -> None:
        self._own(tenant).window.add(now, counts.accepted, counts.refused)

    def _keep(self, readings: Iterable[LastReading]) -> None:
        for reading in readings:
            self._all.readings.append(reading)
            self._own(reading.tenant_id).readings.append(reading)

    def _spread(self, minute: MinuteCount, offset: float) -> None:
        """Spread a minute's counts evenly over its seconds, as far as they have passed."""
        first = int(minute.minute + offset)
        seconds = range(first, min(first + 60, int(self._clock.monotonic()) + 1))
        windows = [self._all.window, *([self._own(minute.tenant).window] if minute.tenant else [])]
        for index, second in enumerate(seconds):
            accepted = _share(minute.accepted, index, len(seconds))
            refused = _share(minute.refused, index, len(seconds))
            for window in windows:
                window.add(second, accepted, refused)

    def _advance(self) -> None:
        self.version += 1
        self._waiting.unpark_all()


def _share(total: int, index: int, parts: int) -> int:
    """Return part ``index`` of ``total`` in whole numbers; all parts add up to the total."""
    return total * (index + 1) // parts - total * index // parts
