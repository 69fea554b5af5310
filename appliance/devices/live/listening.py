"""The times in which the appliance could receive messages: the silence of a device counts only then.

Enters: whether Postgres and the broker are there, and noted absences. Leaves: rows of ``listening``, one for each
period without a break, whose end is extended while it lasts. A period that could not be extended in time, for whatever
reason (this process was away or held up, Postgres, the broker's link), is over, and a new one begins. The same holds
where the service time steps: setting a clock makes no device silent. While the clock is in doubt nothing is recorded,
so that no silence counts.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.presence import PresenceThresholds
from appliance.runtime.periodic import First, every

LISTEN_SECONDS = 5.0
"""Seconds between two rounds, at most: presence may lag as much."""
LOOKS = 6
"""Rounds at least in the time after which a device is STALE."""
LAPSE = 15.0
"""Seconds without a round, or between the two clocks, that end a period."""
NOTICEABLE = 5.0
"""Seconds below which a wait is no absence: it would not matter beside the silence that makes a device STALE."""
KEPT = 100
"""Periods kept of an instance."""

STATEMENTS = statements.load("presence")

log = structlog.get_logger(__name__)


class Listening:
    """Records the listening periods of an instance."""

    def __init__(self, pool: Pool, instance: str, clock: Clock, limits: PresenceThresholds) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._limits = limits
        self._began: float | None = None
        """Start of the current period, in seconds since 1970; None: the next round begins one."""
        self._looked_wall = 0.0
        self._looked_monotonic = 0.0

    def away(self, seconds: float) -> None:
        """Note that no messages were taken in the last ``seconds``."""
        if seconds >= NOTICEABLE:
            self._began = None

    async def run(
        self, present: Callable[[], bool], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run rounds for ever; ``present`` returns whether Postgres and the broker are there now."""
        async with self._pool.connection() as connection:
            limits = {"stale": self._limits.stale_after, "offline": self._limits.offline_after}
            await connection.execute(STATEMENTS["set_limits"], limits)

        async def make_round() -> None:
            await self.look(present=present())

        interval = min(LISTEN_SECONDS, self._limits.stale_after / LOOKS)
        await every(interval, make_round, chore="listening", first=First.BEFORE_START, task_status=task_status)

    async def look(self, *, present: bool) -> None:
        """Run one round. Raises what the pool raises when Postgres is away."""
        if not (present and self._clock.trusted):
            self._began = None
            return
        async with self._pool.connection() as connection:
            wall, monotonic = self._clock.now(), self._clock.monotonic()
            passed = monotonic - self._looked_monotonic
            if passed > LAPSE or abs(wall - self._looked_wall - passed) > LAPSE:
                self._began = None
            if self._began is None:
                await self._begin(connection, wall)
                self._began = wall
            else:
                parameters = {"instance": self._instance, "now": _moment(wall), "began": _moment(self._began)}
                extended = await connection.execute(STATEMENTS["extend_stretch"], parameters)
                if not extended.rowcount:  # somebody took this instance for gone, and removed it
                    await self._begin(connection, wall)
                    self._began = wall
            self._looked_wall, self._looked_monotonic = wall, monotonic

    async def _begin(self, connection: Connection[Any], wall: float) -> None:
        now = _moment(wall)
        async with connection.transaction():
            await connection.execute(STATEMENTS["cut_future"], {"instance": self._instance, "now": now})
            await connection.execute(STATEMENTS["begin_stretch"], {"instance": self._instance, "now": now})
            parameters = {"instance": self._instance, "began": now, "kept": KEPT - 1}
            await connection.execute(STATEMENTS["forget_stretches"], parameters)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
