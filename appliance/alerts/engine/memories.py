"""Fills the memories of rules from telemetry, in the background: a window judges nothing until it is whole."""

from collections import deque
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import structlog
import trio

from appliance.alerts.engine.moments import SECOND, moment
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.watch import Watch
from appliance.alerts.kinds.comparison import is_number
from appliance.alerts.kinds.kind import Memory
from appliance.backoff import Backoff
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.devices.live.state import DeviceKey
from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)


class _Wanted(NamedTuple):
    key: DeviceKey
    planned: PlannedRule
    since: int
    """Microseconds since 1970 UTC, exclusive."""
    passed: list[tuple[int, Any]]
    """Where the device keeps the readings that pass meanwhile."""


class _Filled(NamedTuple):
    wanted: _Wanted
    memory: Memory


class Memories:
    """Takes orders after a commit, and hands out what it has filled before the next batch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queries = statements.load("alert_engine")
        self._queue: deque[_Wanted] = deque()
        self._ordered: set[tuple[DeviceKey, str, int]] = set()
        self._filled: list[_Filled] = []
        self._wake = trio.Event()

    @property
    def filling(self) -> int:
        """Return the number of windows that are not filled yet."""
        return len(self._queue)

    @property
    def filled(self) -> bool:
        """Return whether something waits for :meth:`apply`."""
        return bool(self._filled)

    def want(self, key: DeviceKey, watch: Watch) -> None:
        """Order what the rules of a device do not remember yet. Those of which no reading has passed wait for one."""
        for rule_key, passed in watch.filling.items():
            planned = watch.plan.by_key.get(rule_key)
            if planned is None:
                continue
            order = (key, rule_key, planned.rule.version)
            if not passed or order in self._ordered:
                continue
            assert planned.kind.refill is not None, "a kind with a memory says what fills it"  # noqa: S101 - narrows the type
            span = round(planned.kind.refill(planned.parameters) * SECOND)
            self._ordered.add(order)
            self._queue.append(_Wanted(key, planned, passed[0][0] - span, passed))
            self._wake.set()

    def apply(self, watches: dict[DeviceKey, Watch]) -> None:
        """Give the devices what was filled since the last batch. Not while a batch is tried."""
        filled, self._filled = self._filled, []
        for wanted, memory in filled:
            rule_key, version = wanted.planned.key, wanted.planned.rule.version
            self._ordered.discard((wanted.key, rule_key, version))
            watch = watches.get(wanted.key)
            planned = None if watch is None else watch.plan.by_key.get(rule_key)
            if watch is None or planned is None or planned.rule.version != version:
                continue
            if watch.filling.get(rule_key) is not wanted.passed:
                self.want(wanted.key, watch)  # the watch was made anew: readings that passed in between are in neither
                continue
            for ts, value in watch.filling.pop(rule_key):
                if is_number(value):
                    memory.take(ts, value)
            watch.remember(planned, memory)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fill what is ordered, for ever."""
        delays = Backoff(first=0.05, maximum=5.0)
        task_status.started()
        while True:
            activity().doing("waits for a rule that must look back")
            while not self._queue:
                await self._wake.wait()
                self._wake = trio.Event()
            activity().doing("reads what windows look back on")
            try:
                filled = await self._fill(self._queue[0])
                self._filled.append(filled)  # to the list as it is now: a batch may have taken the last
                self._queue.popleft()
                delays.reset()
            except (psycopg.OperationalError, OSError) as error:
                log.warning("a window is not filled yet", error=str(error).strip())
                await trio.sleep(delays.next())

    async def _fill(self, wanted: _Wanted) -> _Filled:
        planned = wanted.planned
        assert planned.kind.memory is not None, "ordered for kinds with a memory alone"  # noqa: S101 - narrows the type
        memory = planned.kind.memory(planned.parameters)
        parameters: dict[str, Any] = {
            "tenant": wanted.key[0],
            "device": wanted.key[1],
            "metric": planned.metric,
            "since": moment(wanted.since) if wanted.since > 0 else datetime(1970, 1, 1, tzinfo=UTC),
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["refill"], parameters)
            for ts, value in await cursor.fetchall():
                if is_number(value):
                    memory.take(ts, value)
        return _Filled(wanted, memory)
