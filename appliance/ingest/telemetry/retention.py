"""Drops the days of readings that are past their age, with their count in the ledger and their audit row.

Enters: the partitions there are, the retention, and whether the clock is trusted. Leaves: fewer partitions, the oldest
dropped first, each in a transaction of its own. Several processes on one database take turns. Never: a drop that holds
up the stream for longer than its lock timeout, one of a day whose hours are still to be rolled up, one in doubt.
"""

from datetime import UTC, date, datetime

import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.counted import counted
from appliance.db.partitions import read_days
from appliance.db.pool import Pool
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.expiry import Wait, cutoff, expired, waits_for
from appliance.metrics import Metrics
from appliance.runtime.activity import activity
from appliance.runtime.periodic import every

CHECK_SECONDS = 60.0
"""Seconds between two rounds."""
MAX_WAIT = 600.0
"""Most seconds until a lock that was not had is tried again: each try may hold up the stream for 200 ms."""
PAUSE = 0.1
"""Seconds between two drops, which leave telemetry to the stream."""
BLOCKING = (Wait.LOCK, Wait.BACKUP)
"""What keeps every day alike: the others are not tried in the same round."""

log = structlog.get_logger(__name__)


class TelemetryRetention:
    """Drops days by age. ``keep_days`` is how long readings are kept."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        dropper: DayDropper,
        *,
        keep_days: int,
        metrics: Metrics,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._dropper = dropper
        self._keep_days = keep_days
        self._metrics = metrics
        self._backoff = Backoff(first=CHECK_SECONDS, maximum=MAX_WAIT)
        self._reported: dict[date, Wait] = {}
        """What has been logged of each day that waits."""
        self.blocked: Wait | None = None
        """Why the lock was not had in the last round: LOCK or BACKUP; None if it was had or not needed."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round now and every CHECK_SECONDS, without end."""
        await every(CHECK_SECONDS, self._round, chore="retention", task_status=task_status)

    async def _round(self) -> float | None:
        await self.round()
        if self.blocked is Wait.LOCK:  # a backup is asked for without a lock, and so as often as ever
            return self._backoff.next()
        self._backoff.reset()
        return None

    async def round(self) -> int:
        """Drop what may go; return the number of days. Raises psycopg.Error, OSError: what is left waits."""
        async with self._pool.connection() as connection:
            days = await read_days(connection)
        dropped, blocked = 0, None
        waiting: dict[date, Wait] = {}
        for one in expired(days, self._now(), self._keep_days):
            wait = waits_for(one, trusted=self._clock.trusted, blocked=blocked)
            if wait is Wait.TURN:
                now = self._now()
                wait, gone = await self._dropper.drop(
                    one, cutoff=cutoff(now, self._keep_days), now=now, without_rollups=False
                )
                dropped += gone
                blocked = wait if wait in BLOCKING else None
                await trio.sleep(PAUSE)
            if wait is not Wait.TURN:
                waiting[one.partition.day] = wait
        self.blocked = blocked
        self._metrics.overdue_days.set(len(waiting))
        self._report(waiting)
        activity().doing(f"keeps {counted(len(days) - dropped, 'day')}, {len(waiting)} of them past the age")
        return dropped

    def _report(self, waiting: dict[date, Wait]) -> None:
        """Log each day that waits once, and again when it waits for something else."""
        for day, wait in waiting.items():
            if self._reported.get(day) is not wait:
                log.info("day waits to be dropped", day=day.isoformat(), cause=wait.value)
        self._reported = waiting

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)
