"""What the engine does beside the stream: ends that had to wait, alerts that may open anew, rules that raised."""

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from appliance.alerts.engine.changes import Key, encode, fingerprint
from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.rule_book import RuleBook
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

INTERVAL = 1.0
"""Seconds between two rounds."""
SLOW_ROUNDS = 30
"""Rounds between two looks for alerts that may open anew."""
SLICE_ENDS = 250
"""Alerts that one statement ends: it takes some tenth of a second, and holds them for no longer."""
MAX_SLICES = 40
"""Slices of one round; the next one goes on."""
LISTENING_SECONDS = 60.0
"""An appliance that has not listened for so long judges nothing."""
MAX_FAILED = 1000
"""Rules that raised and are not marked yet; the oldest are forgotten, and raise again after the next start."""

MarkFailed = Callable[[PlannedRule, str, datetime], Awaitable[None]]
"""Marks a rule with the error that it raised."""


class Upkeep:
    """Rounds of small chores, each one statement."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        clock: Clock,
        book: RuleBook,
        memories: Memories,
        metrics: Metrics,
        mark_failed: MarkFailed,
        reopen_after: float,
    ) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._book = book
        self._mark_failed = mark_failed
        self._reopen_after = timedelta(seconds=reopen_after)
        self._metrics = metrics
        metrics.windows_filling.set_function(lambda: memories.filling)
        self._queries = statements.load("alert_engine")
        self._failed: deque[tuple[PlannedRule, str]] = deque(maxlen=MAX_FAILED)
        self._rounds = 0
        self._shared = False

    def shared(self) -> bool:
        """Return whether another appliance judges readings, too."""
        return self._shared

    def failed(self, planned: PlannedRule, error: Exception) -> None:
        """Take note of a rule that raised."""
        self._failed.append((planned, f"{type(error).__name__}: {error}"))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make rounds for ever."""
        await every(INTERVAL, self.round, chore="alert upkeep", first=First.BEFORE_START, task_status=task_status)

    async def round(self) -> None:
        """Make one round."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        self._metrics.rules_in_force.set(self._book.size)
        async with self._pool.connection() as connection:
            await self._write_ends(connection)
            since = {"instance": self._instance, "since": now - timedelta(seconds=LISTENING_SECONDS)}
            cursor = await connection.execute(self._queries["other_judges"], since)
            row = await cursor.fetchone()
            self._shared = row is not None and bool(row[0])
        await self._mark(now)
        self._rounds += 1
        if self._rounds % SLOW_ROUNDS == 0:
            await self.reopen()

    async def _write_ends(self, connection: Connection[Any]) -> None:
        """End what waits for it, in slices: whoever disables a rule may have ended tens of thousands of alerts."""
        after: tuple[str, int] = ("", 0)
        for _ in range(MAX_SLICES):
            parameters = {"after_tenant": after[0], "after_alert": after[1], "limit": SLICE_ENDS}
            row = await (await connection.execute(self._queries["write_ends"], parameters)).fetchone()
            if row is None or row[2] < SLICE_ENDS:
                await connection.execute(self._queries["drop_ends"])
                return
            after = row[0], row[1]

    async def _mark(self, now: datetime) -> None:
        while self._failed:
            planned, error = self._failed[0]
            await self._mark_failed(planned, error, now)
            self._failed.popleft()

    async def reopen(self) -> None:
        """Let conditions that go on open anew whose alert a person closed long ago."""
        by_name: dict[tuple[str, str], Key] = {
            (key[0], fingerprint(key[2], key[1])): key for key in self._book.open_alerts()
        }
        if not by_name or not self._clock.trusted:
            return
        before = datetime.fromtimestamp(self._clock.settled(), UTC) - self._reopen_after
        parameters = {"rows": encode(sorted(by_name)).decode(), "before": before}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["reopenable"], parameters)
            found = await cursor.fetchall()
        self._book.reopen([by_name[tenant_id, name] for tenant_id, name in found])
