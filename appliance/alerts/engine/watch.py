"""What the engine keeps of a device: its rules, and where each of them stands that is not at rest."""

from typing import Any

from appliance.alerts.engine.plan import Plan
from appliance.alerts.kinds.kind import REST, Memory, Newest, RuleState


class Position:
    """Where one rule stands with one device. Replaced, never changed, while a batch is tried."""

    __slots__ = ("judged_ts", "memory", "reopen", "rule_version", "state", "version")

    def __init__(
        self,
        rule_version: int,
        state: RuleState = REST,
        version: int = 0,
        judged_ts: int = 0,
        memory: Memory | None = None,
    ) -> None:
        self.rule_version = rule_version
        self.state = state
        self.version = version
        """Of its row; 0: it has none."""
        self.judged_ts = judged_ts
        """Microseconds since 1970 UTC: of the newest reading that it was judged by."""
        self.memory = memory
        """None: the kind has none, or it is being filled."""
        self.reopen = False
        """A person closed the alert so long ago that it opens anew if the condition goes on."""

    def copy(self) -> "Position":
        """Return one that can be changed without changing this one."""
        found = Position(
            self.rule_version,
            self.state,
            self.version,
            self.judged_ts,
            None if self.memory is None else self.memory.copy(),
        )
        found.reopen = self.reopen
        return found


class Watch:
    """A device whose tenant has rules. ``busy``: not every reading can be dismissed by the bounds of the plan."""

    __slots__ = ("busy", "filling", "moving", "plan", "positions", "site_id", "tags", "values")

    def __init__(self, plan: Plan, site_id: str | None, tags: tuple[str, ...]) -> None:
        self.plan = plan
        self.site_id = site_id
        self.tags = tags
        self.positions: dict[str, Position] = {}
        """By the key of the rule."""
        self.values: dict[str, Newest] = {}
        """Of the metrics that the plan names."""
        self.filling: dict[str, list[tuple[int, Any]]] = {}
        """Readings committed while the memory of a rule is being filled."""
        self.busy = bool(plan.remembering)
        self.moving = False
        """Whether a rule without a memory is not at rest."""

    def settle(self) -> None:
        """Forget what is at rest, and note whether anything is not."""
        positions = self.positions
        resting = [
            key
            for key, position in positions.items()
            if position.version == 0 and position.memory is None and position.state == REST
        ]
        for key in resting:
            del positions[key]
        self.moving = any(position.memory is None for position in positions.values())
        self.busy = self.moving or bool(self.plan.remembering)
