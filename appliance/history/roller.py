"""The roller: computes the roll-ups of queued hours anew, and drops those past their age.

An hour is rolled up once it is over and has been in the queue for a while, so that a device whose readings are always
late costs one computation every few minutes, not one a message. Meanwhile nothing is wrong: series take a queued
hour from the readings. The roller works at most a third of the time, in slices, so that a full hour of all
devices does not hold up what comes in.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.runtime.periodic import every

SETTLE = 300.0
"""Seconds that an hour waits in the queue."""
GRACE = 60.0
"""Seconds after its end in which an hour still counts as the present one, for processes whose clock is behind."""
ROLLUP_HOURS = 50
"""Hours of devices in one transaction: some 10 to 100 milliseconds."""
IDLE = 5.0
"""Seconds between two checks when nothing is due."""
REST = 2.0
"""Pause after a slice, as a multiple of its duration."""
AGEING = 3600.0
"""Seconds between two checks for hours past their age."""
OLD_SLICE = 10_000
ANY_HOUR = datetime(1, 1, 1, tzinfo=UTC)
"""Before every hour that is queued."""
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
LAST_HOUR = timedelta(hours=23)
"""From the begin of a day of UTC to that of its last hour."""

STATEMENTS = statements.load("history")

log = structlog.get_logger(__name__)


class Roller:
    """Keeps ``telemetry_hourly`` up to date. ``keep_days`` is how long hours are kept."""

    def __init__(self, pool: Pool, clock: Clock, *, keep_days: int, settle: float = SETTLE) -> None:
        self._pool = pool
        self._clock = clock
        self._keep = timedelta(days=keep_days)
        self._settle = settle
        self._careful = 0
        """Number of hours still to be rolled up one by one, because one of them failed."""
        self._aged = float("-inf")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Roll up what is due, for ever."""
        await every(IDLE, self._round, chore="roll-ups", task_status=task_status)

    async def _round(self) -> float | None:
        started = self._clock.monotonic()
        rolled = await self.roll()
        if self._clock.monotonic() - self._aged >= AGEING:
            await self.drop_old()
            self._aged = self._clock.monotonic()
        return REST * (self._clock.monotonic() - started) if rolled else None

    async def roll(self) -> int:
        """Roll up a slice of the due hours; return their number, 0 also while another process does it."""
        return await self._roll(self._due())

    async def roll_day(self, day: date) -> int:
        """Roll up a slice of the queued hours of a UTC day that has ended, however new they are: it is about to go.

        Returns their number, 0 also while another task or process rolls up.
        """
        first = datetime.combine(day, time(), UTC)
        return await self._roll({"settled": LATEST, "since": first, "begun": first + LAST_HOUR})

    async def _roll(self, due: Mapping[str, datetime]) -> int:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                if not await self._alone(connection):
                    return 0
                parameters = {**due, "at_most": 1 if self._careful else ROLLUP_HOURS}
                row = await (await connection.execute(STATEMENTS["roll_up"], parameters)).fetchone()
        except psycopg.DataError as error:
            return await self._isolate(error, due)
        self._careful = max(0, self._careful - 1)
        return 0 if row is None else row[0]

    async def _isolate(self, error: psycopg.DataError, due: Mapping[str, datetime]) -> int:
        """Handle an hour that cannot be rolled up: first take hours one by one, then drop it from the queue."""
        if not self._careful:
            self._careful = ROLLUP_HOURS
            return 1
        async with self._pool.connection() as connection, connection.transaction():
            if await self._alone(connection):
                for tenant_id, device_id, hour in set(
                    await (await connection.execute(STATEMENTS["drop_mark"], due)).fetchall()
                ):
                    names = {"tenant": tenant_id, "device": device_id, "hour": hour.isoformat()}
                    log.error("an hour cannot be rolled up", **names, error=str(error).strip())
        return 1

    async def _alone(self, connection: Connection) -> bool:
        row = await (await connection.execute(STATEMENTS["only_roller"])).fetchone()
        return row == (True,)

    def _due(self) -> dict[str, datetime]:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        return {
            "settled": now - timedelta(seconds=self._settle),
            "since": ANY_HOUR,
            "begun": now - timedelta(hours=1, seconds=GRACE),
        }

    async def drop_old(self) -> int:
        """Drop hours past their age; return the number of rows. While the clock is in doubt nothing is dropped."""
        if not self._clock.trusted:
            return 0
        before = datetime.fromtimestamp(self._clock.now(), UTC) - self._keep
        dropped = 0
        while True:
            async with self._pool.connection() as connection:
                parameters = {"before": before, "at_most": OLD_SLICE}
                gone = (await connection.execute(STATEMENTS["drop_old"], parameters)).rowcount
            dropped += gone
            if gone < OLD_SLICE:
                if dropped:
                    log.info("old roll-ups dropped", rows=dropped)
                return dropped
