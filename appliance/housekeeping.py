"""Slow chores beside the stream: recording what time has done to subscriptions, erasing deleted devices' readings.

Neither decides anything: service follows ``lifecycle.status_at``, and a deleted device is gone at once.
"""

from datetime import UTC, datetime, timedelta

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices import history
from appliance.subscriptions import store

INTERVAL = 60.0
"""Seconds between two rounds."""

log = structlog.get_logger(__name__)


async def run(
    pool: Pool, clock: Clock, grace: timedelta, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Make a round now and every minute, for ever."""
    task_status.started()
    while True:
        try:
            async with pool.connection() as connection:
                await store.record_statuses(connection, now=datetime.fromtimestamp(clock.wall(), UTC), grace=grace)
            await history.erase_marked(pool)
        except (psycopg.Error, OSError) as error:
            log.warning("chores put off", error=str(error).strip())
        await trio.sleep(INTERVAL)
