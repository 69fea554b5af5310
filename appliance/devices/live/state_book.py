"""The states of the devices that are talking, in memory, and what of them is due to be written.

They are written once a second, only what changed, inside the transaction of a batch: an upsert in every batch would
cost more than the readings. What a crash loses of them is rebuilt at the start from the telemetry that was stored since
the last write.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.rollup_queue import DatedReading, RollupQueue
from appliance.devices.live.state import DeviceKey, DeviceState

MAX_UNACCEPTED = 10_000
"""Devices not in memory whose refused messages are remembered until it is known whether they are registered."""

_encode = msgspec.json.Encoder().encode


class StateBook:
    """The states of the devices that are talking. Bounded: past ``capacity`` the longest unchanged leave first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._states: dict[DeviceKey, DeviceState] = {}
        self._changed: list[DeviceState] = []
        self._writing: list[DeviceState] = []
        self._talking: list[DeviceState] = []
        self._rollup_queue = RollupQueue()
        self._unaccepted: dict[DeviceKey, tuple[int, str | None]] = {}
        self._queries = statements.load("devices")
        self.unbroken_since = 0
        """When messages were last not taken, in microseconds since 1970 UTC; 0: never since the start."""
        self._clock_step: ClockStep | None = None
        """The last step of the clock; None: it has not stepped since the start."""

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: DeviceKey) -> DeviceState | None:
        """Return the state of a device, if it is in memory."""
        return self._states.get(key)

    async def load(self, connection: Connection[Any], keys: Iterable[DeviceKey]) -> None:
        """Bring the states of ``keys`` into memory with one query; one that is not in the table (any more) is empty."""
        wanted = asked = set(keys)
        written = {key for key in wanted if self._is_written(key)}
        while asked:
            parameters = {"tenants": [key[0] for key in asked], "devices": [key[1] for key in asked]}
            cursor = await connection.execute(self._queries["select_states"], parameters)
            rows = await cursor.fetchall()
            # Another task may have loaded some meanwhile: theirs stay, or a device would have two states.
            fresh = {key: DeviceState(*key) for key in asked if key not in self._states}
            for row in rows:
                if (row[0], row[1]) in fresh:
                    fresh[row[0], row[1]].restore(row)
            self._states.update(fresh)
            for key in written - {(row[0], row[1]) for row in rows}:
                if self._is_written(key):
                    self._states[key].clear()
            written, asked = set(), wanted - self._states.keys()
        self._trim(wanted)

    def _is_written(self, key: DeviceKey) -> bool:
        """Return whether the state of a device that was heard is in memory, and all of it in the table."""
        state = self._states.get(key)
        return state is not None and state.heard_at != 0 and not (state.changed or state.writing)

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
            kept.merge(state)
        if not kept.changed:
            kept.changed = True
            self._changed.append(kept)
            self._talking.append(kept)

    def heard(self, key: DeviceKey, at: int, refused: str | None) -> None:
        """Note a message received ``at`` and not accepted; ``refused`` is None if that says nothing of the device."""
        state = self._states.get(key)
        if state is not None:
            state.note_unaccepted(at, refused)
            self.touch(state)
        elif len(self._unaccepted) < MAX_UNACCEPTED or key in self._unaccepted:
            self._unaccepted[key] = (at, refused)

    def interrupted(self, now: int) -> None:
        """Note that no messages were taken until ``now`` (microseconds): gaps across it are not those of devices."""
        self.unbroken_since = now

    def forget(self, key: DeviceKey) -> None:
        """Clear the state of a deleted device: nothing that it sends brings back what may have been erased of it."""
        state = self._states.get(key)
        if state is not None:
            state.clear()

    def take_unaccepted(self) -> dict[DeviceKey, tuple[int, str | None]]:
        """Return the unaccepted messages of devices that are not in memory: time and reason of the last of each."""
        taken, self._unaccepted = self._unaccepted, {}
        return taken

    def heal(self, now: int, step: ClockStep | None) -> None:
        """Heal the times that lie ahead of ``now`` (microseconds) after a step of the clock.

        ``step`` is None for what was received before the last step and was committed after it.
        """
        step = self._clock_step = step or self._clock_step
        if step is None:
            return
        for state in list(self._states.values()):
            if state.heal(now, step):
                self.touch(state)
        self._unaccepted = {key: (min(at, now), refused) for key, (at, refused) in self._unaccepted.items()}
        self.interrupted(now)

    def stored(self, readings: Sequence[DatedReading], span: tuple[int, int] | None, now: int) -> None:
        """Queue the roll-ups of committed ``readings``, whose states were touched.

        ``span`` holds the times of all of them; it and ``now`` are in microseconds since 1970 UTC.
        """
        if not readings:
            return  # the hours of the devices touched since are queued with the next reading that is stored
        talking, self._talking = self._talking, []
        self._rollup_queue.stored(readings, span, talking, now, self.changed)

    def changed(self) -> list[DeviceState]:
        """Return the states of which something is not in the database yet."""
        return [*self._writing, *self._changed]

    def take_changed(self) -> list[DeviceState]:
        """Return the states to write now, sorted by key: two processes that upsert in the same order cannot deadlock.

        What changes from here on is due for the next write. ``written`` or ``give_back`` ends this one.
        """
        self._writing, self._changed = self._changed, []
        for state in self._writing:
            state.changed, state.writing = False, True
        self._talking = []  # a device that talks on is touched anew
        self._rollup_queue.take()
        return sorted(self._writing, key=lambda state: (state.tenant_id, state.device_id))

    def written(self) -> None:
        """Note that the transaction that wrote the states taken has committed."""
        for state in self._writing:
            state.writing = False
        self._writing = []
        self._rollup_queue.written()

    def give_back(self) -> None:
        """Make the states taken due again: they were not written after all."""
        taken = self._writing
        self._rollup_queue.give_back()
        self.written()
        for state in taken:
            self.touch(state)

    def upsert(
        self, states: Sequence[DeviceState], instance: str, now: int, latest_allowance: int
    ) -> tuple[str, dict[str, Any]]:
        """Return statement and parameters that write ``states`` and the roll-up queue as of ``now`` (microseconds).

        An allowance in the table that is full only after ``latest_allowance`` was written by a wrong clock.
        """
        for state in states:
            state.interval_estimator.observe(state.seen_at, self.unbroken_since)
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
                state.interval_estimator.interval or None,
                state.allowance_full_at or None,
                state.unplaced,
                state.heard_at > state.restored_at,
                dict(state.metric_times),
            )
            for state in states
        ]
        # One text for all of them: as arrays, a thousand devices would cost a thousand conversions a column.
        return self._queries["upsert_states"], {
            "rows": _encode(rows).decode(),
            "marks": _encode(self._rollup_queue.rows()).decode(),
            "instance": instance,
            "now": now,
            "latest": latest_allowance,
        }
