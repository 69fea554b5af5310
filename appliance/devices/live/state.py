"""The state of a device: newest time, last seen, latest values."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from appliance.devices.live.accepted_reading import AcceptedReading
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.interval_estimator import IntervalEstimator
from appliance.devices.live.latest_values import remember

DeviceKey = tuple[str, str]
"""(tenant_id, device_id)"""

TOGETHER = 1_000_000
"""Microseconds within which messages count as received together. It bounds how far the time of a message without one
of its own is ahead of its receipt: a million messages of one device, or a clock that is set back."""


NO_TIMES: Mapping[str, int] = MappingProxyType({})
"""Shared by the states of which no rule names a metric."""


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
        "metric_times",
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
        self.metric_times: Mapping[str, int] = NO_TIMES
        """When the newest value of each metric came that a rule names."""
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
        if reading.nulls:
            self.nulls += reading.nulls
        if reading.unplaced:
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

    def note_times(self, times: Mapping[str, int]) -> None:
        """Take note of when values of metrics came."""
        self.metric_times = {**self.metric_times, **times}

    def clear(self) -> None:
        """Forget everything that was learned from messages."""
        self.newest = self.stamped = self.last_ts = self.seen_at = self.heard_at = self.adjusted_at = 0
        self.nulls = self.unplaced = self.refused_at = self.offline_at = 0
        self.refused_reason, self.latest, self.metric_times = None, {}, NO_TIMES
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
            allowance_full_at, self.unplaced, times,
        ) = row  # fmt: skip
        self.metric_times = times or NO_TIMES
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
        self.metric_times = {**older.metric_times, **newer.metric_times} or NO_TIMES
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
