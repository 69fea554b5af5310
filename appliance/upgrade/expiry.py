"""The service that removes copies of before an upgrade once they are too old to go back to.

Enters: the time. Leaves: fewer files in ``upgrades/``. Never: a removal while the clock is in doubt, or before this
program has run for a while: what ended its predecessor may end it as well, and then people want to go back. A clock
that steps forward makes no copy older: what an appliance without a battery for its clock believes at its start may be
months behind.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
import trio

from appliance.clock import Clock
from appliance.runtime.activity import activity
from appliance.runtime.periodic import First, every
from appliance.upgrade.copies import TOLERANCE, postpone, prune_old

CHECK_SECONDS = 3600.0
"""Seconds between two looks, and from the start of the process to the first."""

log = structlog.get_logger(__name__)


async def run(data_dir: Path, clock: Clock, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Look every CHECK_SECONDS, without end."""
    offset = clock.now() - clock.monotonic()
    # `upgrades/` may be a link to a disk of the network, which may hang: no reason for the process not to end.
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)

    async def make_round() -> None:
        nonlocal offset
        if clock.trusted:
            now, stepped = datetime.fromtimestamp(clock.now(), UTC), clock.now() - clock.monotonic() - offset
            if stepped > TOLERANCE.total_seconds():
                await in_thread(postpone, data_dir, now, timedelta(seconds=stepped))
            offset += stepped
            for path in await in_thread(prune_old, data_dir, now):
                log.info("removed the copy before an upgrade: it is too old to go back to", file=str(path))
        activity().doing("keeps the copies of the last upgrades")

    chore = "upgrade copies"
    await every(CHECK_SECONDS, make_round, chore=chore, first=First.AFTER_INTERVAL, task_status=task_status)
