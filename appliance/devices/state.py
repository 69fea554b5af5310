"""The state of each device: newest time, last seen, latest values.

Kept in memory and written once a second, only what changed, inside the transaction of a batch: an upsert in every
batch would cost more than the readings. What a crash loses of it is rebuilt at the start from the telemetry that was
stored since the last write.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection

Key = tuple[str, str]
"""(tenant_id, device_id)"""

MAX_LATEST = 128
"""Names kept in the latest values of a device: twice what one message may carry."""
WRITE_INTERVAL = 1.0
"""Seconds between two writes of what changed."""

_encode = msgspec.json.Encoder().encode


class DeviceState:
    """What is newest of one device. Times are microseconds since 1970 UTC; 0 is never.

    ``newest`` moves when a reading is admitted, so that the next one is judged by it; all else moves after the commit.
    """

    __slots__ = ("adjusted_at", "changed", "device_id", "heard_at", "latest", "newest", "nulls", "seen_at", "tenant_id")

    def __init__(self, tenant_id: str, device_id: str) -> None:
        self.tenant_id = tenant_id
        self.device_id = device_id
        self.newest = 0
        self.seen_at = 0
        self.heard_at = 0
        self.adjusted_at = 0
        self.nulls = 0
        self.latest: dict[str, Any] = {}
        self.changed = False


class StateBook:
    """The states of the devices that are talking. Bounded: past ``capacity`` the longest unchanged leave first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._states: dict[Key, DeviceState] = {}
        self._changed: list[DeviceState] = []
        self._queries = statements.load("devices")

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: Key) -> DeviceState | None:
        """The state of a device, if it is in memory."""
        return self._states.get(key)

    async def load(self, connection: Connection[Any], keys: Iterable[Key]) -> None:
        """Bring the states of ``keys`` into memory with one query; a device without one starts empty."""
        wanted = sorted(set(keys) - self._states.keys())
        if not wanted:
            return
        parameters = {"tenants": [key[0] for key in wanted], "devices": [key[1] for key in wanted]}
        cursor = await connection.execute(self._queries["select_states"], parameters)
        for key in wanted:
            self._states[key] = DeviceState(*key)
        for row in await cursor.fetchall():
            self._restore(row)
        self._trim()

    def _restore(self, row: tuple[Any, ...]) -> None:
        tenant_id, device_id, newest, seen_at, heard_at, adjusted_at, nulls, latest = row
        state = self._states[tenant_id, device_id]
        state.newest, state.seen_at, state.heard_at = newest or 0, seen_at or 0, heard_at or 0
        state.adjusted_at, state.nulls, state.latest = adjusted_at or 0, nulls, latest

    def _trim(self) -> None:
        """Forget states past the bound, oldest first; one with unwritten changes stays."""
        excess = len(self._states) - self._capacity
        if excess <= 0:
            return
        idle = [key for key, state in self._states.items() if not state.changed]
        for key in idle[:excess]:
            del self._states[key]

    def touch(self, state: DeviceState) -> None:
        """Note that ``state`` has changed and must be written."""
        if not state.changed:
            state.changed = True
            self._changed.append(state)

    def changed(self) -> list[DeviceState]:
        """The states to be written, sorted by key: two processes that upsert in the same order cannot deadlock."""
        return sorted(self._changed, key=lambda state: (state.tenant_id, state.device_id))

    def written(self, states: Iterable[DeviceState]) -> None:
        """The transaction that wrote ``states`` has committed."""
        for state in states:
            state.changed = False
        self._changed = [state for state in self._changed if state.changed]

    def upsert(self, states: Sequence[DeviceState], instance: str, now: int) -> tuple[str, dict[str, Any]]:
        """The statement and parameters that write ``states``; ``now`` is the time of the write, in microseconds."""
        rows = [
            (
                state.tenant_id,
                state.device_id,
                state.newest or None,
                state.seen_at or None,
                state.heard_at or None,
                state.adjusted_at or None,
                state.nulls,
                state.latest,
            )
            for state in states
        ]
        # One text for all of them: as arrays, a thousand devices would cost a thousand conversions a column.
        return self._queries["upsert_states"], {"rows": _encode(rows).decode(), "instance": instance, "now": now}

    async def newest(self, pool: Pool, default: float) -> float:
        """When anything was last received and committed, in seconds since 1970; ``default`` if never."""
        async with pool.connection() as connection:
            row = await (await connection.execute(self._queries["newest_receipt"])).fetchone()
        return default if row is None or row[0] is None else float(row[0])

    async def rebuild(self, pool: Pool, instance: str) -> int:
        """Bring ``device_state`` up to what this instance stored after its last write of it; how many were behind."""
        async with pool.connection() as connection:
            cursor = await connection.execute(self._queries["rebuild_states"], {"instance": instance})
            return max(cursor.rowcount, 0)


def remember(latest: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """The latest values after ``metrics`` came; past MAX_LATEST the names longest unseen leave."""
    if latest.keys() <= metrics.keys():
        return metrics
    merged = {name: value for name, value in latest.items() if name not in metrics} | metrics
    for name in list(merged)[: max(0, len(merged) - MAX_LATEST)]:
        del merged[name]
    return merged
