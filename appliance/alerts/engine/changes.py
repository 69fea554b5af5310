"""What one try of a batch would change: drafts of what is kept, and the rows that are written with it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.watch import Position, Watch
from appliance.alerts.kinds.kind import REST, Newest
from appliance.devices.live.state import DeviceKey, DeviceState

encode = msgspec.json.Encoder().encode

Key = tuple[str, str, str]
"""Tenant, device, and key of the rule."""


class Triggers:
    """Breaching readings of an open alert that are not written yet. Times are microseconds since 1970 UTC."""

    __slots__ = ("count", "newest")

    def __init__(self, count: int = 0, newest: int = 0) -> None:
        self.count = count
        self.newest = newest

    def add(self, ts: int) -> None:
        """Count one more."""
        self.count += 1
        self.newest = max(self.newest, ts)


class Opening:
    """An alert that opened within the batch."""

    __slots__ = ("ended", "hops", "index", "planned", "started_at", "triggers", "value")

    def __init__(self, planned: PlannedRule, index: int, started_at: int, value: Any) -> None:
        """``index``: of the message whose reading opens it."""
        self.planned = planned
        self.index = index
        self.hops = 0
        """How often that message was passed on from a notice."""
        self.started_at = started_at
        self.value = value
        self.triggers = Triggers(1, started_at)
        self.ended = False

    def row(self, tenant_id: str, device_id: str) -> tuple[Any, ...]:
        """Return the row that ``open_alerts`` takes."""
        rule = self.planned.rule
        return (
            tenant_id,
            fingerprint(self.planned.key, device_id),
            device_id,
            self.planned.key,
            rule.version,
            self.planned.kind.alert_type.value,
            rule.severity.value,
            rule.name,
            details_of(self.planned, self.value) | ({"hop_count": self.hops} if self.hops else {}),
            self.started_at,
            self.triggers.newest,
            self.triggers.count,
            self.ended,
        )


def fingerprint(rule_key: str, device_id: str) -> str:
    """Return what an alert of a rule is about."""
    return f"rule:{rule_key}:{device_id}"


def details_of(planned: PlannedRule, value: Any) -> dict[str, Any]:
    """Return the parameters of the rule, its limit as ``threshold``, and the ``value`` that was compared with it."""
    details = msgspec.to_builtins(planned.parameters)
    if "value" in details:
        details["threshold"] = details.pop("value")
    return {**details, "kind": planned.kind.name.value, "value": value}


@dataclass(slots=True)
class DeviceDraft:
    """What becomes of one device, if the batch commits."""

    watch: Watch
    state: DeviceState
    positions: dict[str, Position] = field(default_factory=dict)
    values: dict[str, Newest] = field(default_factory=dict)
    moving: bool = False
    """Whether a rule without a memory was judged."""
    passed: list[tuple[str, int, Any]] = field(default_factory=list)
    """Readings for memories that are being filled: rule, time, value."""


@dataclass(slots=True)
class Changes:
    """All that one try would change."""

    drafts: dict[DeviceKey, DeviceDraft] = field(default_factory=dict)
    opened: dict[Key, Opening] = field(default_factory=dict)
    """Those that are open at the end of the batch."""
    past: list[tuple[Key, Opening]] = field(default_factory=list)
    """Those that opened and closed within it."""
    closed: dict[Key, tuple[int, Any]] = field(default_factory=dict)
    """Those that were open before: the time of the reading that closed them, and its value."""
    triggers: dict[Key, Triggers] = field(default_factory=dict)
    taken: list[Any] = field(default_factory=list)
    """A memory that took a reading, its state from before, the next memory, and so on: one list, and no pairs that the
    collector of garbage would have to look at."""
    evaluations: int = 0
    failed: list[tuple[PlannedRule, Exception]] = field(default_factory=list)

    def give_back(self) -> None:
        """Let memories forget what they took. The drafts were never made true."""
        while self.taken:
            state, memory = self.taken.pop(), self.taken.pop()
            memory.state = state

    def state_rows(self, version: int) -> list[tuple[Any, ...]]:
        """Return the rows that ``write_states`` takes, sorted by key, and note the versions that they get.

        ``version`` is the least that a changed row gets, so that one that is made anew never has an old one.
        """
        rows = []
        for (tenant_id, device_id), draft in self.drafts.items():
            for rule_key, position in draft.positions.items():
                before = draft.watch.positions.get(rule_key)
                if position.state == (REST if before is None else before.state):
                    continue
                expected = position.version
                at_rest = position.state == REST
                if at_rest and expected == 0:
                    continue
                written = max(expected + 1, version)
                state = None if at_rest else position.state
                row = (
                    tenant_id,
                    rule_key,
                    device_id,
                    position.rule_version,
                    expected,
                    written,
                    position.judged_ts,
                    state,
                )
                rows.append(row)
                position.version = 0 if at_rest else written
        return sorted(rows, key=lambda row: row[:3])
