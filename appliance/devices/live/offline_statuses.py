"""`offline` statuses: which of them mean that a device is gone.

Theory. A device says `offline` before it leaves, or its broker says it in its place (the will, MQTT 5 3.1.2.5). A will
can be late: the broker publishes that of a dead connection when the keep-alive ran out, up to minutes after the device
came back with another connection. So `offline` by itself moves neither the last time the device was seen or heard, nor
its newest values; it waits, and counts if all of this holds:

- nothing else of the device came in the WAIT_SECONDS after it, in which we listened without a break;
- the device is not connected, as far as the broker shows who is (``connected``). Where it does not show it, nothing
  else of the device came in the WAIT_SECONDS before it either: a device that came back has said something.

Then ``DeviceState.offline_at`` is set, and the next message of the device ends it. What waits is in memory only: after
a crash, and past MAX_WAITING, the silence of the device tells the same, later.

Enters: committed batches with a status, and once a second the waiting statuses. Leaves: changed device states. Never:
a wait in the message path.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.devices.live.state import DeviceKey, DeviceState
from appliance.devices.live.state_book import StateBook
from appliance.reading import Kind
from appliance.runtime.periodic import First, every

WAIT_SECONDS = 10.0
"""Seconds before and after an `offline` in which something else of the device speaks against it."""
LOOK_SECONDS = 1.0
"""Seconds between two rounds."""
MAX_WAITING = 50_000
"""Statuses that wait; a status beyond is left to silence."""
OFFLINE = "offline"
MICROSECONDS = 1_000_000

Connected = Callable[[str, str], bool | None]
"""Whether a device (tenant id, device id) is connected to the broker; None if that is not known."""


def says_offline(kind: Kind, metrics: Mapping[str, Any]) -> bool:
    """Return whether a message is a status that says `offline`."""
    return kind is Kind.STATUS and metrics.get("status") == OFFLINE


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An `offline` that waits. Times in microseconds since 1970 UTC, ``since`` in monotonic seconds."""

    state: DeviceState
    at: int
    heard_at: int
    """When anything else of the device had last come."""
    since: float


class OfflineStatuses:
    """Decides which `offline` statuses count."""

    def __init__(self, states: StateBook, pool: Pool, clock: Clock) -> None:
        self._states = states
        self._pool = pool
        self._clock = clock
        self._waiting: OrderedDict[DeviceKey, _Waiting] = OrderedDict()  # the first to wait is the first
        self._unbroken_since = 0.0
        """Monotonic seconds since which we listen without a break."""
        self._queries = statements.load("devices")

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, state: DeviceState, received_at: int) -> None:
        """Let an `offline` wait that was received at ``received_at`` (microseconds) and is stored.

        Everything that was received before it has moved ``state`` already.
        """
        key = (state.tenant_id, state.device_id)
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.heard_at == state.heard_at:
            return  # the same once more: it waits already
        self._waiting.pop(key, None)
        if len(self._waiting) < MAX_WAITING:
            self._waiting[key] = _Waiting(state, received_at, state.heard_at, self._clock.monotonic())

    async def run(
        self,
        caught_up: Callable[[], bool],
        connected: Connected,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run rounds for ever. ``caught_up``: whether what devices sent reaches us at once."""

        async def make_round() -> None:
            await self.look(connected, caught_up=caught_up())

        first = First.AFTER_INTERVAL
        await every(LOOK_SECONDS, make_round, chore="offline statuses", first=first, task_status=task_status)

    async def look(self, connected: Connected, *, caught_up: bool) -> int:
        """Run one round; return the number of devices that went offline. Raises what the pool raises."""
        now = self._clock.monotonic()
        if not caught_up:
            self._unbroken_since = now
        due = self._due(now)
        if not due:
            return 0
        known = await self._heard(due)
        gone = 0
        for waiting in due:
            state = waiting.state
            key = (state.tenant_id, state.device_id)
            if self._waiting.get(key) is waiting:  # no other came while the database was asked
                del self._waiting[key]
                if key in known and self._counts(waiting, known[key], connected(*key)):
                    state = self._states.get(key) or state
                    state.go_offline(waiting.at)
                    self._states.touch(state)
                    gone += 1
        return gone

    def _due(self, now: float) -> list[_Waiting]:
        found = []
        for waiting in self._waiting.values():
            if now - max(waiting.since, self._unbroken_since) < WAIT_SECONDS:
                break
            found.append(waiting)
        return found

    async def _heard(self, due: Iterable[_Waiting]) -> dict[DeviceKey, int]:
        """Return when anything came of the devices that are not deleted: a peer of ours may have heard one since."""
        keys = [(waiting.state.tenant_id, waiting.state.device_id) for waiting in due]
        parameters = {"tenants": [key[0] for key in keys], "devices": [key[1] for key in keys]}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["select_heard"], parameters)
            return {(tenant, device): heard_at for tenant, device, heard_at in await cursor.fetchall()}

    def _counts(self, waiting: _Waiting, written: int, connected: bool | None) -> bool:
        """Return whether the device is gone; ``written``: when anything of it came, as far as it is in the database."""
        state = self._states.get((waiting.state.tenant_id, waiting.state.device_id)) or waiting.state
        if connected or state.heard_at != waiting.heard_at or written > waiting.at:
            return False
        before = max(waiting.heard_at, written)
        return connected is False or waiting.at - before >= WAIT_SECONDS * MICROSECONDS
