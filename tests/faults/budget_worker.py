"""A process that makes room for a day and a half, to be killed: ``python -m tests.faults.budget_worker CONNINFO STEP``.

It is killed at the STEP-th place that it comes by, whatever that is; 0: never.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from itertools import count

import trio

from appliance.db.pool import open_pool
from tests.support.budget import MOST, Budgeted, Stepping


async def work(conninfo: str, step: int) -> None:
    """Make rounds until there is room."""
    steps = count(1)

    def killed(_name: str) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_pool(conninfo, name="budget", min_size=1, max_size=2) as pool:
        one = Budgeted(pool, Stepping(datetime.now(UTC)), 0, killed)
        taken = (await one.measure()).own
        one.others = MOST - taken + int(1.5 * await one.size_of_a_day())
        await one.settle()


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]))
