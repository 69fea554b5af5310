"""Readiness by deeds: whether messages are stored, and whether devices can publish.

Connections say little: with a full disk, a table that somebody has locked, or a broken password file, Postgres and the
broker both answer. So two deeds are watched. *Storing*: the batch in flight is committed within HELD_SECONDS; without
messages, a probe writes as a batch would. *Publishing*: a publish through the device listener arrives
(``broker.listener_probe``). What is wrong is told by /readyz, by the pages, and once in the log.

Theory::

    not ready   a part is not there: Postgres, the broker, the schema
    degraded    all parts are there, and a deed fails, or the disk is full
    ready       everything else
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

ROUND_SECONDS = 1.0
"""Seconds between two rounds: what /readyz says is at most so old, and one probe."""
HELD_SECONDS = 5.0
"""Seconds after which a batch that is not committed is a failure to store. A slow disk takes tenths of one."""
IDLE_SECONDS = 5.0
"""Seconds without a commit after which a probe writes."""
PROBE_DEADLINE = 2.0
"""Seconds that a probe may take."""
LOCK_WAIT_MS = 1000
"""Milliseconds that a probe waits for a lock."""

STATEMENTS = statements.load("readiness")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with each part and each deed, as text for people; None is fine."""

    postgres: str | None
    broker: str | None
    schema: str | None
    storing: str | None = None
    publishing: str | None = None
    broker_memory: str | None = None
    """Why the broker may soon take nothing any more: a warning, for messages are still stored."""
    disk: str | None = None
    """Why the disk is full: then nothing is stored, and a part that is missing is explained by it as a rule."""
    broker_queue: str | None = None
    """Why the broker cannot save its queue: a warning, for what waits there is lost only when the broker stops."""
    broker_session: str | None = None
    """What an external broker does not grant our session: a warning, for messages are lost only while we are away."""

    def missing(self) -> dict[str, str]:
        """Return what is wrong with the parts, by their names; with them the disk, if it is full."""
        parts = _wrong(postgres=self.postgres, broker=self.broker, schema=self.schema)
        return parts and {**parts, **_wrong(disk=self.disk)}

    def failing(self) -> dict[str, str]:
        """Return what is wrong with the deeds, by their names; nothing while a part is missing, which explains it."""
        if self.missing():
            return {}
        if self.disk is not None:
            return _wrong(disk=self.disk, publishing=self.publishing)
        return _wrong(storing=self.storing, publishing=self.publishing)

    def warnings(self) -> dict[str, str]:
        """Return what does not keep it from being ready and soon may, by names."""
        return _wrong(
            broker_memory=self.broker_memory, broker_queue=self.broker_queue, broker_session=self.broker_session
        )

    def causes(self) -> dict[str, str]:
        """Return all that keeps the appliance from being ready."""
        return self.missing() or self.failing()


def _wrong(**parts: str | None) -> dict[str, str]:
    return {name: wrong for name, wrong in parts.items() if wrong is not None}


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """Messages that are not committed yet. ``since`` is in monotonic seconds; ``error`` is why a try failed, if any."""

    since: float
    error: str | None


class StoringProbe:
    """Watches whether messages are stored. ``trouble`` is why not, None while they are.

    ``held`` returns the batch in flight, ``committed_at`` the monotonic time of the last commit. ``disk_full`` says why
    the disk of an embedded Postgres is full, None while it is not: nothing is probed then.
    """

    def __init__(
        self,
        pool: Pool,
        instance: str,
        clock: Clock,
        *,
        held: Callable[[], HeldBatch | None],
        committed_at: Callable[[], float],
        disk_full: Callable[[], str | None],
    ) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._held = held
        self._committed_at = committed_at
        self._disk_full = disk_full
        self._probed_at = float("-inf")
        self.trouble: str | None = None

    async def look(self) -> None:
        """Run one round."""
        now = self._clock.monotonic()
        held = self._held()
        if held is not None and now - held.since >= HELD_SECONDS:
            cause = self._disk_full() or held.error or await self._lock() or "Postgres has not finished it"
            self.trouble = f"nothing was stored for {now - held.since:.0f} s: {cause}"
        elif held is None and now - max(self._committed_at(), self._probed_at) >= IDLE_SECONDS:
            self.trouble = self._disk_full() or await self._probe()
            self._probed_at = now
        elif self._committed_at() > self._probed_at:
            self.trouble = self._disk_full()

    async def _probe(self) -> str | None:
        """Write as a batch would; return what is wrong."""
        try:
            with trio.fail_after(PROBE_DEADLINE):
                async with self._pool.connection() as connection, connection.transaction():
                    await connection.execute(STATEMENTS["limit_probe"], {"milliseconds": LOCK_WAIT_MS})
                    await connection.execute(STATEMENTS["probe_telemetry"])
                    now = datetime.fromtimestamp(self._clock.now(), UTC)
                    await connection.execute(STATEMENTS["probe_commit"], {"instance": self._instance, "now": now})
        except psycopg.errors.LockNotAvailable:
            return f"a message could not be stored: {await self._lock(PROBED_TABLE) or 'its table is locked'}"
        except trio.TooSlowError:
            return f"a commit takes longer than {PROBE_DEADLINE:.0f} s"
        except (psycopg.Error, OSError) as error:
            return f"a message could not be stored: {_first_line(error)}"
        return None

    async def _lock(self, table: str | None = None) -> str | None:
        """Return who holds the lock that a batch, or a probe of ``table``, waits for; None if nobody does."""
        try:
            with trio.fail_after(PROBE_DEADLINE):
                async with self._pool.connection() as connection:
                    holder = await _holder(connection, table)
        except (psycopg.Error, OSError, trio.TooSlowError):
            return None
        return None if holder is None else f"a lock is held by process {holder[0]} of user {holder[1]} in Postgres"


PROBED_TABLE = "telemetry"


async def _holder(connection: Connection[Any], table: str | None) -> tuple[int, str] | None:
    if table is None:
        cursor = await connection.execute(STATEMENTS["select_blocker"])
    else:
        cursor = await connection.execute(STATEMENTS["select_lock_holder"], {"table": table})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class Readiness:
    """Watches the deeds, and says in the log when the appliance is no longer ready, and when it is again."""

    def __init__(self, storing: StoringProbe, health: Callable[[], Health], metrics: Metrics) -> None:
        self._storing = storing
        self._health = health
        self._metrics = metrics
        self._said: frozenset[str] = frozenset()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run rounds for ever."""
        first = First.AFTER_INTERVAL  # at the start our session is still on its way back to the broker
        await every(ROUND_SECONDS, self._round, chore="readiness", first=first, task_status=task_status)

    async def _round(self) -> None:
        await self._storing.look()
        self.note()

    def note(self) -> None:
        """Write to the log what has begun or ended since the last round, once each."""
        causes = self._health().causes()
        self._metrics.ready.set(not causes)
        for part in sorted(causes.keys() - self._said):
            log.error("not ready", part=part, cause=causes[part])
        if self._said and not causes:
            log.info("ready again", after=", ".join(sorted(self._said)))
        self._said = frozenset(causes)
