"""An appliance reduced to its children, for tests that kill it: prints their pids when both serve, then waits.

Its worker threads end after a short rest, not after Trio's ten seconds: what is tied to one of them ends as soon.
"""

import json
import sys
from pathlib import Path

import structlog
import trio
from trio._core import _thread_cache

from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits
from appliance.children.postgres import Postgres
from appliance.clock import SystemClock

IDLE_SECONDS = 1


async def main(path: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with open_data_dir(path) as data_dir:
        async with trio.open_nursery() as nursery:
            await trio.to_thread.run_sync(int)  # so that there is a worker thread
            postgres = Postgres(data_dir, roles=(), clock=SystemClock())
            mosquitto = Mosquitto(
                data_dir, host="127.0.0.1", port=0, subscription="#", limits=BrokerLimits(), clock=SystemClock()
            )
            await nursery.start(postgres.run)
            await nursery.start(mosquitto.run)
            pids = {"postgres": postgres.status.pid, "mosquitto": mosquitto.status.pid}
            sys.stdout.write(json.dumps(pids) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _thread_cache.IDLE_TIMEOUT = IDLE_SECONDS  # Trio has no public name for it
    trio.run(main, Path(sys.argv[1]))
