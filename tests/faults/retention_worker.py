"""A process that drops days, to be killed: ``python -m tests.faults.retention_worker CONNINFO AHEAD KEEP_DAYS``."""

import os
import sys

import trio

from appliance.db.pool import open_pool
from appliance.failpoints import Failpoints
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.retention import TelemetryRetention
from appliance.metrics import Metrics
from tests.support.rollups import Clock


async def work(conninfo: str, ahead: float, keep_days: int) -> None:
    """Make one round."""
    async with open_pool(conninfo, name="retention", min_size=1, max_size=2) as pool:
        dropper = DayDropper(pool, "one", Metrics(), Failpoints.from_environment(os.environ))
        keeper = TelemetryRetention(pool, Clock(ahead), dropper, keep_days=keep_days, metrics=Metrics())
        await keeper.round()


if __name__ == "__main__":
    trio.run(work, sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
