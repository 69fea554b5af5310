"""Slow chores beside the stream: recording what time has done to subscriptions, erasing deleted devices' readings,
keeping the metrics that devices have begun to send.

None decides anything: service follows ``lifecycle.status_at``, a deleted device is gone at once, and a metric that is
not kept yet is shown as it is guessed.
"""

from datetime import UTC, datetime, timedelta

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices import erasure
from appliance.devices.metrics import store as metric_store
from appliance.runtime.activity import activity
from appliance.subscriptions import store

CHORE_SECONDS = 60.0
"""Seconds between two rounds."""
LEARN_INTERVAL = 10.0
"""Seconds between two looks for new metrics."""
OVERLAP = timedelta(seconds=10)
"""States are written behind the stream: one look reaches back before the last."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

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
            await erasure.erase_marked(pool)
            activity().did()
        except (psycopg.Error, OSError) as error:
            activity().failed(error)
            log.warning("chores put off", error=str(error).strip())
        activity().rests(CHORE_SECONDS)
        await trio.sleep(CHORE_SECONDS)


async def learn_metrics(pool: Pool, clock: Clock, *, task_status: trio.TaskStatus[None]) -> None:
    """Look for new metrics now - of all devices - and then of those heard since, for ever."""
    task_status.started()
    since = BEGINNING
    while True:
        now = datetime.fromtimestamp(clock.wall(), UTC)
        try:
            async with pool.connection() as connection:
                learned = await metric_store.learn(connection, since)
        except (psycopg.Error, OSError) as error:
            log.warning("metrics not learned", error=str(error).strip())
        else:
            if not learned:  # else there may be more of them
                since = now - OVERLAP
        await trio.sleep(LEARN_INTERVAL)
