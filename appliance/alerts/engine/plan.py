"""The rules of a device, arranged by metric so that the usual reading is dismissed with two comparisons.

Most readings change nothing: their values lie where no rule that is at rest would move. A plan knows for each metric
the bounds between which that is so for all of its rules together, and the engine judges a reading rule by rule only
when a value lies outside, or when something is under way with the device. Devices with the same rules share one plan.
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

    __slots__ = ("bounds", "kind", "metric", "parameters", "rule", "rule_id")

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.rule_id: UUID = rule.rule_id
        self.kind: Kind = KINDS[rule.kind]
        self.parameters: Any = rule.parameters
        self.metric = rule.parameters.metric
        self.bounds: Bounds = self.kind.quiet(rule.parameters) or NEVER


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of a device. ``bounds`` and ``rules`` are by metric."""

    bounds: dict[str, Bounds]
    rules: dict[str, tuple[PlannedRule, ...]]
    remembering: tuple[PlannedRule, ...]
    """Those with a memory."""
    named: frozenset[str]
    """Metrics of which the newest value and its time must be known."""
    versions: frozenset[tuple[UUID, int]]
    """Rule and version of all of them."""


def plan_of(rules: Sequence[PlannedRule], named: Iterable[str] = ()) -> Plan:
    """Arrange rules. ``named`` are further metrics of which the time must be known, for rules that a timer judges."""
    by_metric: dict[str, list[PlannedRule]] = {}
    needed = set(named)
    for planned in rules:
        needed |= planned.kind.named(planned.parameters)
        if planned.metric is not None:
            by_metric.setdefault(planned.metric, []).append(planned)
    return Plan(
        {metric: _common(planned) for metric, planned in by_metric.items()},
        {metric: tuple(planned) for metric, planned in by_metric.items()},
        tuple([planned for planned in rules if planned.kind.memory is not None]),
        frozenset(needed),
        frozenset([(planned.rule_id, planned.rule.version) for planned in rules]),
    )


def _common(rules: Iterable[PlannedRule]) -> Bounds:
    low, high = -inf, inf
    for planned in rules:
        low, high = max(low, planned.bounds[0]), min(high, planned.bounds[1])
    return low, high


EMPTY = plan_of(())
