"""When the appliance was there to hear its devices: silence counts only then.

Enters: what is missing, and told absences. Leaves: rows of ``listening``, one for each stretch of time without a break,
its end moved on while it lasts. A stretch that could not be moved on in time, for whatever reason - this process was
away or held up, Postgres, the broker's link - is over, and a new one begins. So it is where wall and monotonic clock
disagree: a clock that was set makes no device silent.
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
"""Seconds between two looks, at most: presence may lag as much."""
LOOKS = 6
"""Looks at least in the time after which a device is STALE."""
LAPSE = 15.0
"""Seconds without a look, or between the two clocks, that end a stretch."""
NOTICEABLE = 5.0
"""Seconds below which a wait is no absence: it would not matter beside the silence that makes a device STALE."""
KEPT = 100
"""Stretches remembered of an instance."""

STATEMENTS = statements.load("presence")

log = structlog.get_logger(__name__)


class Listening:
    """Keeps the book of an instance."""

    def __init__(self, pool: Pool, instance: str, clock: Clock, limits: PresenceThresholds) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._limits = limits
        self._began: float | None = None
        """Of the stretch that lasts, in seconds since 1970; None: the next look begins one."""
        self._looked_wall = 0.0
        self._looked_monotonic = 0.0

    def away(self, seconds: float) -> None:
        """No messages were taken in the last ``seconds``."""
        if seconds >= NOTICEABLE:
            self._began = None

    async def run(
        self, present: Callable[[], bool], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Look now and every few seconds, for ever; ``present`` says whether Postgres and the broker are there now."""
        async with self._pool.connection() as connection:
            limits = {"stale": self._limits.stale_after, "offline": self._limits.offline_after}
            await connection.execute(STATEMENTS["set_limits"], limits)

        async def make_round() -> None:
            await self.look(present=present())

        interval = min(LISTEN_SECONDS, self._limits.stale_after / LOOKS)
        await every(interval, make_round, chore="listening", first=First.BEFORE_START, task_status=task_status)

    async def look(self, *, present: bool) -> None:
        """Look once. Raises what the pool raises when Postgres is away."""
        if not present:
            self._began = None
            return
        async with self._pool.connection() as connection:
            wall, monotonic = self._clock.wall(), self._clock.monotonic()
            passed = monotonic - self._looked_monotonic
            if passed > LAPSE or abs(wall - self._looked_wall - passed) > LAPSE:
                self._began = None
            if self._began is None:
                await self._begin(connection, wall)
                self._began = wall
            else:
                parameters = {"instance": self._instance, "now": _moment(wall), "began": _moment(self._began)}
                await connection.execute(STATEMENTS["extend_stretch"], parameters)
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
