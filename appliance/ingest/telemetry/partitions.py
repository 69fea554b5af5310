"""Keeps telemetry's partitions ahead of time: for the whole retention, and two days to come."""

from datetime import UTC, datetime, timedelta

import structlog
import trio

from appliance.clock import Clock
from appliance.db.partitions import ensure_partitions
from appliance.db.pool import Pool
from appliance.runtime.periodic import First, every

log = structlog.get_logger(__name__)

DAYS_AHEAD = 2
CHECK_SECONDS = 3600.0
"""Seconds between two rounds. The writer makes a missing partition by itself, at the price of one slower batch."""


async def keep_ahead(
    pool: Pool, clock: Clock, retention_days: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Make partitions now and every hour until cancelled; started once the partitions are there for the first time."""

    async def make_round() -> None:
        today = datetime.fromtimestamp(clock.now(), UTC).date()
        async with pool.connection() as connection:
            made = await ensure_partitions(
                connection, today - timedelta(days=retention_days), today + timedelta(days=DAYS_AHEAD)
            )
        if made:
            log.info("partitions made", count=made)

    await every(CHECK_SECONDS, make_round, chore="partitions", first=First.BEFORE_START, task_status=task_status)
