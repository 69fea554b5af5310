"""Refused messages of devices that are not in memory: a device that only sends rubbish talks, all the same.

Most refusals come before anybody asked who the device is. Once a second the states of those that are registered are
brought into memory, beside the stream; whoever is not registered is nobody's business here.
"""

import psycopg
import structlog
import trio

from appliance.db.pool import PoolTimeout
from appliance.devices.live.state import StateBook
from appliance.devices.registry.cache import Registry
from appliance.runtime.activity import activity

WRITE_SECONDS = 1.0
"""Seconds between two looks."""

log = structlog.get_logger(__name__)


class UnacceptedTraffic:
    """Notes in the states of devices what was heard of them before they were known."""

    def __init__(self, states: StateBook, registry: Registry) -> None:
        self._states = states
        self._registry = registry

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look now and then, for ever."""
        task_status.started()
        while True:
            activity().rests(WRITE_SECONDS)
            await trio.sleep(WRITE_SECONDS)
            try:
                activity().did(await self.look())
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.debug("not looked who was overheard", error=str(error).strip())
                activity().failed(error)

    async def look(self) -> int:
        """Look once; how many of the devices are registered. Raises what the pool raises when Postgres is away."""
        heard = self._states.take_overheard()
        if not heard:
            return 0
        await self._registry.standings(heard)  # brings the states of those that are registered into memory
        known = [key for key in heard if self._states.get(key) is not None]
        for key in known:
            self._states.heard(key, *heard[key])
        return len(known)
