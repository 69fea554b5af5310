"""The state of each device: newest time, last seen, latest values.

Kept in memory and written once a second, only what changed, inside the transaction of a batch: an upsert in every
batch would cost more than the readings. What a crash loses of it is rebuilt at the start from the telemetry that was
stored since the last write.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.interval_estimator import IntervalEstimator
from appliance.devices.live.rollup_queue import DatedReading, RollupQueue

DeviceKey = tuple[str, str]
"""(tenant_id, device_id)"""

MAX_LATEST = 128
"""Names kept in the latest values of a device: twice what one message may carry."""
MAX_UNACCEPTED = 10_000
"""Devices not in memory whose refused messages are remembered until somebody finds out whether they are registered."""
WRITE_INTERVAL = 1.0
"""Seconds between two writes of what changed."""

_encode = msgspec.json.Encoder().encode


class DeviceState:
    """What is newest of one device. Times are microseconds since 1970 UTC; 0 is never.

    ``newest`` moves when a reading is admitted, so that the next one is judged by it; all else moves after the commit,
    ``last_ts`` with it: only that is written, or a crash would leave a time in the table whose reading never came.
    """

    __slots__ = (
        "adjusted_at",
        "changed",
        "device_id",
        "heard_at",
        "last_ts",
        "latest",
        "newest",
        "nulls",
        "offline_at",
        "pace",
        "refused_at",
        "refused_reason",
        "seen_at",
        "tenant_id",
        "writing",
    )

    def __init__(self, tenant_id: str, device_id: str) -> None:
        self.tenant_id = tenant_id
        self.device_id = device_id
        self.newest = 0
        self.last_ts = 0
        self.seen_at = 0
        self.heard_at = 0
        self.adjusted_at = 0
        self.nulls = 0
        self.refused_at = 0
        self.refused_reason: str | None = None
        self.offline_at = 0
        self.latest: dict[str, Any] = {}
        self.pace = IntervalEstimator()
        self.changed = self.writing = False


class StateBook:
    """The states of the devices that are talking. Bounded: past ``capacity`` the longest unchanged leave first.

    Who stores readings writes them every ``write_interval`` seconds.
    """

    def __init__(self, capacity: int, write_interval: float = WRITE_INTERVAL) -> None:
        self.write_interval = write_interval
        self._capacity = capacity
        self._states: dict[DeviceKey, DeviceState] = {}
        self._changed: list[DeviceState] = []
        self._writing: list[DeviceState] = []
        self._talking: list[DeviceState] = []
        self._marks = RollupQueue()
        self._unaccepted: dict[DeviceKey, tuple[int, str | None]] = {}
        self._queries = statements.load("devices")

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: DeviceKey) -> DeviceState | None:
        """The state of a device, if it is in memory."""
        return self._states.get(key)

    async def load(self, connection: Connection[Any], keys: Iterable[DeviceKey]) -> None:
        """Bring the states of ``keys`` into memory with one query; a device without one starts empty."""
        wanted = set(keys)
        while missing := sorted(wanted - self._states.keys()):
            parameters = {"tenants": [key[0] for key in missing], "devices": [key[1] for key in missing]}
            cursor = await connection.execute(self._queries["select_states"], parameters)
            rows = await cursor.fetchall()
            # Another task may have brought some meanwhile: theirs stay, or a device would have two states.
            fresh = {key: DeviceState(*key) for key in missing if key not in self._states}
            for row in rows:
                if (row[0], row[1]) in fresh:
                    _restore(fresh[row[0], row[1]], row)
            self._states.update(fresh)
        self._trim(wanted)

    def _trim(self, wanted: Container[DeviceKey]) -> None:
        """Forget states past the bound, oldest first; those ``wanted`` now stay, and those with unwritten changes."""
        excess = len(self._states) - self._capacity
        if excess <= 0:
            return
        idle = (key for key, state in self._states.items() if not (state.changed or state.writing or key in wanted))
        for key in list(islice(idle, excess)):
            del self._states[key]

    def touch(self, state: DeviceState) -> None:
        """Note that ``state`` has changed and must be written. One forgotten while it was in use comes back."""
        kept = self._states.setdefault((state.tenant_id, state.device_id), state)
        if kept is not state:
            _merge(kept, state)
        if not kept.changed:
            kept.changed = True
            self._changed.append(kept)
            self._talking.append(kept)

    def heard(self, key: DeviceKey, at: int, refused: str | None) -> None:
        """A message of a device was not accepted, for the reason ``refused``; None: for one that says nothing of it."""
        state = self._states.get(key)
        if state is not None:
            state.heard_at = max(state.heard_at, at)
            if refused is not None:
                state.refused_at, state.refused_reason = at, refused
            self.touch(state)
        elif len(self._unaccepted) < MAX_UNACCEPTED or key in self._unaccepted:
            self._unaccepted[key] = (at, refused)

    def forget(self, key: DeviceKey) -> None:
        """The device was deleted: nothing that it sends brings back what may have been erased of it."""
        state = self._states.get(key)
        if state is not None:
            state.newest = state.last_ts = state.seen_at = state.heard_at = state.adjusted_at = state.nulls = 0
            state.refused_at = state.offline_at = 0
            state.refused_reason, state.latest = None, {}

    def take_overheard(self) -> dict[DeviceKey, tuple[int, str | None]]:
        """What was heard of devices that are not in memory, since this was asked last."""
        taken, self._unaccepted = self._unaccepted, {}
        return taken

    def stored(self, readings: Sequence[DatedReading], span: tuple[int, int] | None, now: int) -> None:
        """``readings``, whose states were touched, are committed: their hours have news.

        ``span`` holds the times of all of them; it and ``now`` are in microseconds since 1970 UTC.
        """
        if not readings:
            return  # whoever was touched since is marked with the next reading that is stored
        talking, self._talking = self._talking, []
        self._marks.stored(readings, span, talking, now, self.changed)

    def changed(self) -> list[DeviceState]:
        """The states of which something is not in the database yet."""
        return [*self._writing, *self._changed]

    def take_changed(self) -> list[DeviceState]:
        """The states to write now, sorted by key: two processes that upsert in the same order cannot deadlock.

        What changes from here on is due for the next write. ``written`` or ``give_back`` says how this one ended.
        """
        self._writing, self._changed = self._changed, []
        for state in self._writing:
            state.changed, state.writing = False, True
        self._talking = []  # whoever talks on is touched anew
        self._marks.take()
        return sorted(self._writing, key=lambda state: (state.tenant_id, state.device_id))

    def written(self) -> None:
        """The transaction that wrote the states taken has committed."""
        for state in self._writing:
            state.writing = False
        self._writing = []
        self._marks.written()

    def give_back(self) -> None:
        """The states taken were not written after all."""
        taken = self._writing
        self._marks.give_back()
        self.written()
        for state in taken:
            self.touch(state)

    def upsert(self, states: Sequence[DeviceState], instance: str, now: int) -> tuple[str, dict[str, Any]]:
        """The statement and parameters that write ``states`` and what is marked; ``now``: the time, in microseconds."""
        for state in states:
            state.pace.take(state.seen_at)
        rows = [
            (
                state.tenant_id,
                state.device_id,
                state.last_ts or None,
                state.seen_at or None,
                state.heard_at or None,
                state.adjusted_at or None,
                state.nulls,
                state.latest,
                state.refused_at or None,
                state.refused_reason,
                state.offline_at or None,
                state.pace.interval or None,
            )
            for state in states
        ]
        # One text for all of them: as arrays, a thousand devices would cost a thousand conversions a column.
        return self._queries["upsert_states"], {
            "rows": _encode(rows).decode(),
            "marks": _encode(self._marks.rows()).decode(),
            "instance": instance,
            "now": now,
        }

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


def _restore(state: DeviceState, row: tuple[Any, ...]) -> None:
    _, _, newest, seen_at, heard_at, adjusted_at, nulls, latest, refused_at, refused_reason, offline_at, interval = row
    state.newest = state.last_ts = newest or 0
    state.seen_at, state.heard_at = seen_at or 0, heard_at or 0
    state.adjusted_at, state.nulls, state.latest = adjusted_at or 0, nulls, latest
    state.refused_at, state.refused_reason, state.offline_at = refused_at or 0, refused_reason, offline_at or 0
    state.pace = IntervalEstimator(interval or 0.0)


def _merge(kept: DeviceState, other: DeviceState) -> None:
    """Bring what ``other`` has seen of the same device into the state that is kept."""
    older, newer = (kept, other) if other.newest >= kept.newest else (other, kept)
    kept.latest = remember(older.latest, newer.latest)
    kept.newest = newer.newest
    if other.refused_at > kept.refused_at:
        kept.refused_at, kept.refused_reason = other.refused_at, other.refused_reason
    if other.seen_at >= kept.seen_at:
        kept.offline_at = other.offline_at
    kept.last_ts = max(kept.last_ts, other.last_ts)
    kept.seen_at = max(kept.seen_at, other.seen_at)
    kept.heard_at = max(kept.heard_at, other.heard_at)
    kept.adjusted_at = max(kept.adjusted_at, other.adjusted_at)
    kept.nulls = max(kept.nulls, other.nulls)


def remember(latest: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """The latest values after ``metrics`` came; past MAX_LATEST the names longest unseen leave."""
    if latest.keys() <= metrics.keys():
        return metrics
    merged = {name: value for name, value in latest.items() if name not in metrics} | metrics
    for name in list(merged)[: max(0, len(merged) - MAX_LATEST)]:
        del merged[name]
    return merged
