"""A process that only works on replays, to be killed: ``python -m tests.faults.replay_worker CONNINFO``."""

import sys

import trio

from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.db.pool import open_pool
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.ingest.quarantine.replayer import Replayer
from appliance.metrics import Metrics
from tests.support.tenants import GRACE, provisioner_of


async def work(conninfo: str) -> None:
    """Open what a replay needs, as the supervisor does, and work."""
    clock, states = SystemClock(), StateBook(10_000)
    async with open_pool(conninfo, name="replay", min_size=2, max_size=4) as pool, trio.open_nursery() as nursery:
        provisioner = provisioner_of(pool)
        await nursery.start(provisioner.run)
        registry = Registry(pool, states, provisioner, clock, capacity=10_000, refusal_ttl=5.0, grace=GRACE)
        metrics, room = Metrics(), trio.lowlevel.checkpoint
        worker = Replayer(pool, "one", registry, states, clock, Ingest(), Retention(), lambda: 0, metrics, room)
        await worker.run()


if __name__ == "__main__":
    trio.run(work, sys.argv[1])
