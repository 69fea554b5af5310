"""Keeps telemetry's partitions ahead of time: for the whole retention, and two days to come."""

from datetime import UTC, datetime, timedelta

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db.partitions import ensure_partitions
from appliance.db.pool import Pool, PoolTimeout
from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

DAYS_AHEAD = 2
CHECK_SECONDS = 3600.0
"""Seconds between two looks; the writer makes what is missing by itself, at the price of one slower batch."""


async def keep_ahead(
    pool: Pool, clock: Clock, retention_days: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Look now and every hour until cancelled; starts when the partitions are there for the first time."""
    started = False
    while True:
        today = datetime.fromtimestamp(clock.wall(), UTC).date()
        try:
            async with pool.connection() as connection:
                made = await ensure_partitions(
                    connection, today - timedelta(days=retention_days), today + timedelta(days=DAYS_AHEAD)
                )
            activity().did()
            if made:
                log.info("partitions made", count=made)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            if not started:
                raise
            activity().failed(error)
            log.warning("partitions not looked at", error=str(error).strip())
        if not started:
            started = True
            task_status.started()
        activity().rests(CHECK_SECONDS)
        await trio.sleep(CHECK_SECONDS)
