"""Refused messages of devices that are not in memory: a device that only sends rubbish talks, all the same.

Most refusals come before anybody asked who the device is. Once a second the states of those that are registered are
brought into memory, beside the stream; whoever is not registered is nobody's business here.
"""

import trio

from appliance.devices.live.state import StateBook
from appliance.devices.registry.cache import Registry
from appliance.runtime.periodic import First, every

WRITE_SECONDS = 1.0
"""Seconds between two looks."""


class UnacceptedTraffic:
    """Notes in the states of devices what was heard of them before they were known."""

    def __init__(self, states: StateBook, registry: Registry) -> None:
        self._states = states
        self._registry = registry

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look now and then, for ever."""
        first = First.AFTER_INTERVAL
        await every(WRITE_SECONDS, self._round, chore="unaccepted traffic", first=first, task_status=task_status)

    async def _round(self) -> None:
        await self.look()

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
