"""What the outbox needs beside its couriers.

Notices that wait for a way out for too long are dead, what ended long ago is dropped, and the queue and the
integrations that fail are counted.
"""

from datetime import datetime, timedelta
from typing import Any

import trio

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox.cases import STATEMENTS, moment
from appliance.delivery.outbox.retries import KEEP_FINISHED
from appliance.delivery.senders.table import SENDERS
from appliance.metrics import Metrics
from appliance.runtime.periodic import every

ROUND_SECONDS = 15.0
"""Seconds between two rounds."""
SLICE_JOBS = 500
"""Jobs that one statement changes."""
MAX_SLICES = 20
"""Statements of a kind in one round: what is left waits for the next."""
STATES = ("due", "held", "retrying", "unreachable", "sending")
"""The labels of the metric."""


class Upkeep:
    """Keeps the outbox of all tenants."""

    def __init__(self, pool: Pool, clock: Clock, metrics: Metrics, max_age: timedelta) -> None:
        """``max_age``: how long a notice waits for a way out."""
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._max_age = max_age

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round now and every ROUND_SECONDS, for ever."""
        await every(ROUND_SECONDS, self.make_round, chore="deliveries", task_status=task_status)

    async def make_round(self) -> None:
        """Make one round; while the clock is in doubt nothing is too old. Raises psycopg.Error and OSError."""
        now = moment(self._clock.now())
        async with self._pool.connection() as connection:
            await _in_slices(connection, "skip_orphans", {"now": now})
            if self._clock.trusted:
                settled = moment(self._clock.settled())
                await self._expire(connection, now, settled)
                await _in_slices(connection, "delete_finished", {"before": settled - KEEP_FINISHED})
            cursor = await connection.execute(STATEMENTS["count_queue"], {"now": now})
            counts = dict(await cursor.fetchall())
            failing = dict(await (await connection.execute(STATEMENTS["count_failing"])).fetchall())
        for state in STATES:
            self._metrics.delivery_queue.labels(state).set(counts.get(state, 0))
        for kind in SENDERS:
            self._metrics.integrations_failing.labels(kind).set(failing.get(kind, 0))

    async def _expire(self, connection: Connection[Any], now: datetime, settled: datetime) -> None:
        """Let notices die that have waited for too long; reminders of what is still open follow them."""
        parameters = {"now": now, "settled": settled, "before": settled - self._max_age, "limit": SLICE_JOBS}
        for _ in range(MAX_SLICES):
            async with connection.transaction():
                cursor = await connection.execute(STATEMENTS["expire_waiting"], parameters)
                expired = [job_id for (job_id,) in await cursor.fetchall()]
                if expired:
                    await connection.execute(STATEMENTS["insert_reminders"], parameters | {"ids": expired})
            if len(expired) < SLICE_JOBS:
                return


async def _in_slices(connection: Connection[Any], statement: str, parameters: dict[str, Any]) -> None:
    for _ in range(MAX_SLICES):
        cursor = await connection.execute(STATEMENTS[statement], parameters | {"limit": SLICE_JOBS})
        if cursor.rowcount < SLICE_JOBS:
            return
