"""Refused messages of devices that are not in memory: a device that only sends rubbish talks, all the same.

Most messages are refused before the device is looked up. Once a second the states of those that are registered are
loaded into memory, beside the stream; a device that is not registered is ignored here.
"""

import trio

from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.runtime.periodic import First, every

WRITE_SECONDS = 1.0
"""Seconds between two rounds."""


class UnacceptedTraffic:
    """Notes unaccepted messages in the states of devices that were not in memory when they came."""

    def __init__(self, states: StateBook, registry: Registry) -> None:
        self._states = states
        self._registry = registry

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run rounds for ever."""
        first = First.AFTER_INTERVAL
        await every(WRITE_SECONDS, self._round, chore="unaccepted traffic", first=first, task_status=task_status)

    async def _round(self) -> None:
        await self.look()

    async def look(self) -> int:
        """Return the number of registered devices found. Raises what the pool raises when Postgres is away."""
        heard = self._states.take_unaccepted()
        if not heard:
            return 0
        await self._registry.statuses(heard)  # loads the states of those that are registered
        known = [key for key in heard if self._states.get(key) is not None]
        for key in known:
            self._states.heard(key, *heard[key])
        return len(known)
