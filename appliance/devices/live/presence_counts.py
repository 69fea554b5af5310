"""The number of active devices by presence, counted again and again for /metrics."""

import trio

from appliance.db.pool import Pool
from appliance.devices.live import presence
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

COUNT_SECONDS = 30.0
"""Seconds between two counts: 10,000 devices cost milliseconds, 1,000,000 some seconds."""


async def count_presences(
    pool: Pool, metrics: Metrics, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set the metric every COUNT_SECONDS, until cancelled."""

    async def make_round() -> None:
        await count_once(pool, metrics)

    first = First.AT_ONCE
    await every(COUNT_SECONDS, make_round, chore="presence counts", first=first, task_status=task_status)


async def count_once(pool: Pool, metrics: Metrics) -> None:
    """Set the metric. Raises what the pool raises when Postgres is away."""
    async with pool.connection() as connection:
        for name, number in (await presence.counts(connection, None)).items():
            metrics.devices.labels(name.value.lower()).set(number)
