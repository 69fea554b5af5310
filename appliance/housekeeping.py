"""Slow chores beside the stream: erase the readings of deleted devices, forget maintenance windows that are long over
and requests whose keys are free again, give time zones their present names, and register the metrics that devices have
begun to send.

None of them decides anything: a deleted device is gone at once, and a metric that is not registered yet is shown with
guessed properties.
"""

from datetime import UTC, datetime, timedelta

import trio

from appliance.alerts.maintenance import store as maintenance
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices import erasure, stored_zones
from appliance.devices.metrics import store as metric_store
from appliance.people import kept_answers
from appliance.renewals import life
from appliance.runtime.periodic import every

CHORE_SECONDS = 60.0
"""Seconds between two rounds."""
LEARN_INTERVAL = 10.0
"""Seconds between two searches for new metrics."""
OVERLAP = timedelta(seconds=10)
"""Device states are written after their readings, so each search overlaps with the one before."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


async def run(pool: Pool, clock: Clock, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Erase readings of deleted devices, windows and requests that are over. Now, and every minute.

    Time zones are renamed once: what is stored from now on has its present name.
    """
    renamed = False

    async def make_round() -> None:
        nonlocal renamed
        if clock.trusted:
            now = datetime.fromtimestamp(clock.now(), UTC)
            async with pool.connection() as connection:
                if not renamed:
                    await stored_zones.rename(connection, now)
                    renamed = True
                await maintenance.delete_over(connection, now - maintenance.KEEP_ENDED)
                settled = datetime.fromtimestamp(clock.settled(), UTC)
                await life.forget_over(connection, settled)
                await kept_answers.forget_over(connection, settled)
        await erasure.erase_marked(pool, clock)

    await every(CHORE_SECONDS, make_round, chore="housekeeping", task_status=task_status)


async def learn_metrics(pool: Pool, clock: Clock, *, task_status: trio.TaskStatus[None]) -> None:
    """Register new metrics: first those of all devices, then of the devices that sent something since; for ever."""
    since = BEGINNING

    async def make_round() -> None:
        nonlocal since
        now = datetime.fromtimestamp(clock.now(), UTC)
        if since > now:  # the clock has stepped back
            since = BEGINNING
        async with pool.connection() as connection:
            learned = await metric_store.learn(connection, since, now=now)
        if not learned:  # else there may be more
            since = now - OVERLAP

    await every(LEARN_INTERVAL, make_round, chore="metric names", task_status=task_status)
