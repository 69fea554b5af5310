"""An ingest stack whose clock can be moved, for what an `offline` status makes of a device."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appliance.clock import SystemClock
from appliance.devices.live.offline_statuses import Connected
from appliance.devices.live.state import DeviceState
from tests.support.pipeline import TENANT, IngestStack, Message, furnish, look, open_ingest, until
from tests.support.postgres_server import Database

PRESENCE = """
SELECT presence_of(s, d.interval_seconds, w)
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE d.device_id = 'd-1'
"""


class SkippingClock(SystemClock):
    """The machine's clocks, and what was skipped."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def now(self) -> float:
        return time.time() + self.skipped

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped


def gone(_tenant: str, _device: str) -> bool:
    return False


@dataclass
class Arranged:
    """A stack whose clock can be moved."""

    database: Database
    stack: IngestStack
    clock: SkippingClock

    async def send(self, *messages: Message) -> None:
        await self.stack.send(*messages, received=self.clock.now())

    async def passes(self, seconds: float, connected: Connected = gone, *, caught_up: bool = True) -> int:
        """Let time pass, then run a round; return how many devices went offline."""
        self.clock.skipped += seconds
        return await self.stack.offline_statuses.look(connected, caught_up=caught_up)

    async def written(self) -> DeviceState:
        """Wait until the state of the device is written, and return it."""
        state = self.stack.states.get((TENANT, "d-1"))
        assert state is not None
        await until(lambda: not state.changed and not state.writing)
        return state

    async def becomes(self, presence: str) -> None:
        await until(lambda: look(self.database, PRESENCE) == [(presence,)])


@asynccontextmanager
async def arranged(database: Database) -> AsyncIterator[Arranged]:
    clock = SkippingClock()
    await furnish(database)
    async with open_ingest(database, clock=clock) as stack:
        yield Arranged(database, stack, clock)


@asynccontextmanager
async def arranged_again(database: Database) -> AsyncIterator[Arranged]:
    """The same after a restart, a day later."""
    clock = SkippingClock()
    clock.skipped = 86_400
    async with open_ingest(database, clock=clock) as stack:
        yield Arranged(database, stack, clock)
