"""The state of each device: newest time, last seen, latest values.

It is kept in memory and written once a second, only what changed, inside the transaction of a batch: an upsert in
every batch would cost more than the readings. What a crash loses of it is rebuilt at the start from the telemetry that
was stored since the last write.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.accepted_reading import AcceptedReading
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.interval_estimator import IntervalEstimator
from appliance.devices.live.latest_values import remember
from appliance.devices.live.rollup_queue import DatedReading, RollupQueue

DeviceKey = tuple[str, str]
"""(tenant_id, device_id)"""

MAX_UNACCEPTED = 10_000
"""Devices not in memory whose refused messages are remembered until it is known whether they are registered."""

TOGETHER = 1_000_000
"""Microseconds within which messages count as received together. It bounds how far the time of a message without one
of its own is ahead of its receipt: a million messages of one device, or a clock that is set back."""

_encode = msgspec.json.Encoder().encode


class DeviceState:
    """The newest that is known of one device. Times are microseconds since 1970 UTC; 0 is never.

    ``newest`` moves when a reading is admitted, so that the next one is judged by it, and so does ``stamped``, the time
    last given to a reading that carried none. Everything else moves after the commit, ``last_ts`` included: only
    ``last_ts`` is written, or a crash would leave a time in the table whose reading never came.
    """

    __slots__ = (
        "adjusted_at",
        "allowance_full_at",
        "changed",
        "device_id",
        "heard_at",
        "interval_estimator",
        "last_ts",
        "latest",
        "newest",
        "nulls",
        "offline_at",
        "refused_at",
        "refused_reason",
        "registered_at",
        "restored_at",
        "seen_at",
        "stamped",
        "tenant_id",
        "unplaced",
        "writing",
    )

    def __init__(self, tenant_id: str, device_id: str) -> None:
        self.tenant_id = tenant_id
        self.device_id = device_id
        self.newest = self.stamped = 0
        self.last_ts = 0
        self.seen_at = 0
        self.heard_at = 0
        self.adjusted_at = 0
        self.nulls = self.unplaced = 0
        self.refused_at = 0
        self.refused_reason: str | None = None
        self.offline_at = 0
        self.registered_at = 0
        self.restored_at = 0
        """``heard_at`` as it was read; beyond it, it was this process that heard the device."""
        self.allowance_full_at = 0
        """When its bucket and allowance are both full again; 0: not known, they filled since it was registered."""
        self.latest: dict[str, Any] = {}
        self.interval_estimator = IntervalEstimator()
        self.changed = self.writing = False

    def stamp(self, received_at: int) -> int:
        """Return the time of a reading that carries none: its receipt, after the readings received together with it.

        A reading of that instant with a time of its own counts, too: what came after it is not late.
        """
        ts = received_at
        if 0 <= self.newest - ts < TOGETHER:
            ts = self.newest + 1
        if 0 <= self.stamped - ts < TOGETHER:
            ts = self.stamped + 1
        self.stamped = ts
        return ts

    def admit(self, ts: int) -> bool:
        """Judge the time of a reading that is being admitted; return whether it is late."""
        if ts < self.newest:
            return True
        self.newest = ts
        return False

    def accept(self, reading: AcceptedReading, received_at: int) -> None:
        """Move to a reading that came in the stream and was committed. Called once a message."""
        self.seen_at = self.heard_at = received_at
        self.offline_at = 0
        if reading.adjusted:
            self.adjusted_at = received_at
        self.nulls += reading.nulls
        self.unplaced += reading.unplaced
        if not reading.late:
            ts, metrics, latest = reading.ts, reading.metrics, self.latest
            if ts < self.last_ts:
                self._fill_in(metrics)
                return
            self.last_ts = ts
            self.latest = metrics if latest.keys() <= metrics.keys() else remember(latest, metrics)

    def accept_replayed(self, reading: AcceptedReading, received_at: int) -> None:
        """Move to a reading that was held, replayed and committed; ``received_at`` is when it came originally.

        It keeps that time, so it moves none of the times backwards: the stream may have gone on for days since.
        """
        self.seen_at = max(self.seen_at, received_at)
        self.heard_at = max(self.heard_at, received_at)
        if reading.adjusted:
            self.adjusted_at = max(self.adjusted_at, received_at)
        self.nulls += reading.nulls
        self.unplaced += reading.unplaced
        if not reading.late:
            if reading.ts < self.last_ts:
                self._fill_in(reading.metrics)
                return
            self.last_ts = reading.ts
            self.latest = remember(self.latest, reading.metrics)

    def _fill_in(self, metrics: dict[str, Any]) -> None:
        """Add values of a reading that was the newest when it was admitted and was overtaken before it was committed.

        The stream and a replay commit independently of each other, so either can overtake the other.
        """
        self.latest = remember(metrics, self.latest)

    def go_offline(self, at: int) -> None:
        """Take note that an `offline` received ``at`` counts (``offline_statuses``); the next message ends it."""
        self.offline_at = at
        self.latest = remember(self.latest, {"status": "offline"})

    def note_unaccepted(self, received_at: int, reason: str | None) -> None:
        """Take note of a message that was not accepted; ``reason`` is None if it says nothing about the device."""
        self.heard_at = max(self.heard_at, received_at)
        self.offline_at = 0
        if reason is not None:
            self.refused_at, self.refused_reason = received_at, reason

    def clear(self) -> None:
        """Forget everything that was learned from messages."""
        self.newest = self.stamped = self.last_ts = self.seen_at = self.heard_at = self.adjusted_at = 0
        self.nulls = self.unplaced = self.refused_at = self.offline_at = 0
        self.refused_reason, self.latest = None, {}
        self.restored_at, self.interval_estimator = 0, IntervalEstimator()

    def heal(self, now: int, step: ClockStep) -> bool:
        """Move times that lie ahead of ``now``, or make them unknown; return whether there were any.

        The interval goes on from what was learned: a gap over a step of the clock is not the device's.
        """
        self.interval_estimator = IntervalEstimator(self.interval_estimator.interval)
        before = [getattr(self, name) for name in _TIMES]
        for name, at in zip(_TIMES, before, strict=True):
            setattr(self, name, step.moved(at, now))
        if not self.refused_at:
            self.refused_reason = None
        return before != [getattr(self, name) for name in _TIMES]

    def restore(self, row: tuple[Any, ...]) -> None:
        """Take over a row of ``select_states``."""
        (
            _, _, last_ts, seen_at, heard_at, adjusted_at, nulls, latest, refused_at, reason, offline_at, interval,
            allowance_full_at, self.unplaced,
        ) = row  # fmt: skip
        self.allowance_full_at = allowance_full_at or 0
        self.newest = self.last_ts = last_ts or 0
        self.seen_at, self.heard_at = seen_at or 0, heard_at or 0
        self.restored_at = self.heard_at
        self.adjusted_at, self.nulls, self.latest = adjusted_at or 0, nulls, latest
        self.refused_at, self.refused_reason, self.offline_at = refused_at or 0, reason, offline_at or 0
        self.interval_estimator = IntervalEstimator(interval or 0.0)

    def merge(self, other: "DeviceState") -> None:
        """Take over what ``other`` has seen of the same device."""
        older, newer = (self, other) if other.newest >= self.newest else (other, self)
        self.latest = remember(older.latest, newer.latest)
        self.newest = newer.newest
        self.stamped = max(self.stamped, other.stamped)
        if other.refused_at > self.refused_at:
            self.refused_at, self.refused_reason = other.refused_at, other.refused_reason
        if other.heard_at >= self.heard_at:
            self.offline_at = other.offline_at
        self.last_ts = max(self.last_ts, other.last_ts)
        self.seen_at = max(self.seen_at, other.seen_at)
        self.heard_at = max(self.heard_at, other.heard_at)
        self.adjusted_at = max(self.adjusted_at, other.adjusted_at)
        self.nulls = max(self.nulls, other.nulls)
        self.allowance_full_at = max(self.allowance_full_at, other.allowance_full_at)
        self.unplaced = max(self.unplaced, other.unplaced)


_TIMES = ("newest", "last_ts", "seen_at", "heard_at", "restored_at", "adjusted_at", "refused_at", "offline_at")
"""The attributes of a state that are times."""


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
