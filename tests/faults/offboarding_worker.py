"""A process that deletes tenants, to be killed: ``python -m tests.faults.offboarding_worker CONNINFO``."""

import os
import sys

import trio

from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.failpoints import Failpoints
from appliance.offboarding.worker import DeletionWorker

SLICE_ROWS = 7


async def work(conninfo: str) -> None:
    """Make one round; wait for another process that is at it."""
    async with open_pool(conninfo, name="offboarding", min_size=1, max_size=2) as pool:
        failpoint = Failpoints.from_environment(os.environ)
        worker = DeletionWorker(pool, SystemClock(), str(os.getpid()), failpoint=failpoint, slice_rows=SLICE_ROWS)
        while not await worker.work():
            await trio.sleep(0.05)


if __name__ == "__main__":
    trio.run(work, sys.argv[1])
