"""How much memory and disk the broker takes, and whether it is too much.

Enters: what the broker says under ``$SYS``, and what the machine says of an embedded one. Leaves: a
:class:`BrokerRoom` a second, and why it is nearly full. Never: a question that a frozen broker could leave unanswered.

An embedded broker has a limit. Past it every allocation fails: nobody can publish any more, whoever filled it. What
counts towards it is what is allocated; the memory that its process holds stays larger after a flood, since little of
what was freed goes back to the machine.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from appliance.broker.statistics import BrokerStatistics
from appliance.counted import counted
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

LOOK_SECONDS = 1.0
NEARLY_FULL, ROOM_AGAIN = 0.75, 0.6
"""Shares of the limit: with more allocated it is nearly full, with less it is not any more."""


@dataclass(frozen=True, slots=True)
class BrokerRoom:
    """What a broker takes, in bytes; what is not known is None."""

    allocated: int | None = None
    """What it has allocated, as it says."""
    limit: int | None = None
    """The most that it may."""
    resident: int | None = None
    """Memory of its process."""
    store: int | None = None
    """Its file on disk."""
    retained: int | None = None
    """Retained messages that it holds, its own statistics among them."""


class RoomWatch:
    """Measures the broker. ``pid`` and ``store_bytes`` say None for one that is elsewhere, or down."""

    def __init__(
        self,
        statistics: BrokerStatistics,
        metrics: Metrics,
        *,
        pid: Callable[[], int | None],
        store_bytes: Callable[[], int | None],
        limit: int | None,
        on_nearly_full: Callable[[], None],
    ) -> None:
        self._statistics = statistics
        self._metrics = metrics
        self._pid = pid
        self._store_bytes = store_bytes
        self._limit = limit
        self._on_nearly_full = on_nearly_full
        self.room = BrokerRoom(limit=limit)
        self.trouble: str | None = None
        """Why the broker may soon take nothing any more, for people; None: it has room."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        await every(LOOK_SECONDS, self._round, chore="broker room", first=First.AT_ONCE, task_status=task_status)

    async def _round(self) -> None:
        self.look()

    def look(self) -> None:
        """Measure once; tell of a shortage as long as it lasts."""
        resident, store = _resident(self._pid()), self._store_bytes()
        allocated, retained = self._statistics.allocated, self._statistics.retained
        self.room = BrokerRoom(allocated, self._limit, resident, store, retained)
        for gauge, value in (
            (self._metrics.broker_allocated, allocated),
            (self._metrics.broker_resident, resident),
            (self._metrics.broker_store, store),
            (self._metrics.broker_retained, retained),
        ):
            if value is not None:
                gauge.set(value)
        self._judge(allocated if allocated is not None else resident)

    def _judge(self, taken: int | None) -> None:
        if taken is None or not self._limit:
            self.trouble = None
            return
        if taken < (NEARLY_FULL if self.trouble is None else ROOM_AGAIN) * self._limit:
            self.trouble = None
            return
        waiting, retained = self._statistics.waiting or 0, self._statistics.retained or 0
        self.trouble = (
            f"the broker has allocated {taken // 10**6} of {self._limit // 10**6} MB, for"
            f" {counted(waiting, 'message that waits', 'messages that wait')} and"
            f" {counted(retained, 'that is retained', 'that are retained')}: when that is full, no device can publish"
        )
        self._on_nearly_full()


def _resident(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):  # it has just ended
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
