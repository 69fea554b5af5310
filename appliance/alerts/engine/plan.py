"""The rules of a device, arranged by metric so that the usual reading is dismissed with two comparisons.

Most readings change nothing: their values lie where no rule that is at rest would move. A plan knows for each metric
the bounds between which that is so for all of its rules without a memory together, and the engine judges a reading rule
by rule only when a value lies outside, or when something is under way with the device. A rule with a memory has bounds
of its own, for what the memory makes of a reading. Devices with the same rules share one plan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any
from uuid import UUID

from appliance.alerts.kinds.kind import Kind
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.rule import AlertRule

Bounds = tuple[float, float]
"""Numbers between the two, both exclusive, leave what is at rest as it is."""
NEVER: Bounds = (inf, -inf)
"""No number does."""


class PlannedRule:
    """A rule that is judged by readings, ready for the engine."""

    __slots__ = ("bounds", "key", "kind", "metric", "parameters", "rule", "rule_id")

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.rule_id: UUID = rule.rule_id
        self.key = str(rule.rule_id)
        """The id as a key of tables: text is hashed once, a UUID each time."""
        self.kind: Kind = KINDS[rule.kind]
        self.parameters: Any = rule.parameters
        self.metric = rule.parameters.metric
        self.bounds: Bounds = self.kind.quiet(rule.parameters) or NEVER


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of a device. The memories of those that have one see every reading; the bounds are of the others."""

    bounds: dict[str, Bounds]
    """By metric."""
    rules: dict[str, tuple[PlannedRule, ...]]
    """Those without a memory, by metric."""
    remembering: dict[str, tuple[PlannedRule, ...]]
    """Those with a memory, by metric."""
    named: frozenset[str]
    """Metrics of which the newest value and its time must be known."""
    by_key: dict[str, PlannedRule]
    """All of them."""
    memories: int
    """How many have a memory."""


def plan_of(rules: Sequence[PlannedRule], named: Iterable[str] = ()) -> Plan:
    """Arrange rules. ``named`` are further metrics of which the time must be known, for rules that a timer judges."""
    needed = set(named)
    for planned in rules:
        needed |= planned.kind.named(planned.parameters)
    plain = _by_metric([planned for planned in rules if planned.kind.memory is None])
    return Plan(
        {metric: _common(planned) for metric, planned in plain.items()},
        plain,
        _by_metric([planned for planned in rules if planned.kind.memory is not None]),
        frozenset(needed),
        {planned.key: planned for planned in rules},
        len([planned for planned in rules if planned.kind.memory is not None]),
    )


def _by_metric(rules: Iterable[PlannedRule]) -> dict[str, tuple[PlannedRule, ...]]:
    found: dict[str, list[PlannedRule]] = {}
    for planned in rules:
        if planned.metric is not None:
            found.setdefault(planned.metric, []).append(planned)
    return {metric: tuple(planned) for metric, planned in found.items()}


def _common(rules: Iterable[PlannedRule]) -> Bounds:
    low, high = -inf, inf
    for planned in rules:
        low, high = max(low, planned.bounds[0]), min(high, planned.bounds[1])
    return low, high


EMPTY = plan_of(())
