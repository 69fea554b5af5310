"""The number of alerts that wait for somebody, by severity, counted again and again for /metrics."""

from datetime import UTC, datetime

import trio

from appliance.alerts import store
from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.alerts.store import AlertTab
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

COUNT_SECONDS = 10.0
"""Seconds between two counts: an index of what is not closed is read, a millisecond for some thousand alerts."""


async def count_open(
    pool: Pool,
    clock: Clock,
    metrics: Metrics,
    windows: MaintenanceBook,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set the metric every COUNT_SECONDS, until cancelled."""

    async def make_round() -> None:
        await count_once(pool, clock, metrics, windows)

    first = First.AT_ONCE
    await every(COUNT_SECONDS, make_round, chore="open alerts", first=first, task_status=task_status)


async def count_once(pool: Pool, clock: Clock, metrics: Metrics, windows: MaintenanceBook) -> None:
    """Set the metric. Raises what the pool raises when Postgres is away."""
    settled = datetime.fromtimestamp(clock.settled(), UTC)
    maintenance = windows.active_scopes(None, clock.settled())
    async with pool.connection() as connection:
        counts = await store.counts(connection, None, settled=settled, maintenance=maintenance)
    for severity, number in counts.by_tab[AlertTab.OPEN].items():
        metrics.open_alerts.labels(severity.value).set(number)
