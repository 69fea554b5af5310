"""What the engine keeps of a device: its rules, where those stand that are not at rest, and what they remember."""

from typing import Any

from appliance.alerts.engine.plan import NEVER, Plan, PlannedRule
from appliance.alerts.kinds.kind import REST, Memory, Newest, RuleState


class Position:
    """Where one rule stands with one device. Replaced, never changed, while a batch is tried."""

    __slots__ = ("judged_ts", "reopen", "rule_version", "state", "version")

    def __init__(self, rule_version: int, state: RuleState = REST, version: int = 0, judged_ts: int = 0) -> None:
        self.rule_version = rule_version
        self.state = state
        self.version = version
        """Of its row; 0: it has none."""
        self.judged_ts = judged_ts
        """Microseconds since 1970 UTC: of the newest reading that it was judged by."""
        self.reopen = False
        """A person closed the alert so long ago that it opens anew if the condition goes on."""

    def copy(self) -> "Position":
        """Return one that can be changed without changing this one."""
        found = Position(self.rule_version, self.state, self.version, self.judged_ts)
        found.reopen = self.reopen
        return found


class Track:
    """What a rule with a memory remembers of a device. The memory is changed while a batch is tried, and given back."""

    __slots__ = ("high", "low", "memory", "metric", "planned")

    def __init__(self, planned: PlannedRule, memory: Memory) -> None:
        self.planned = planned
        self.metric = planned.parameters.metric
        self.memory = memory
        self.low, self.high = planned.bounds
        """Between the two, both exclusive, what the memory makes of a reading leaves the rule where it stands."""


class Watch:
    """A device whose tenant has rules. ``busy``: not every reading can be dismissed by the bounds of the plan."""

    __slots__ = ("busy", "filling", "moving", "plan", "positions", "site_id", "tags", "tracks", "values")

    def __init__(self, plan: Plan, site_id: str | None, tags: tuple[str, ...]) -> None:
        self.plan = plan
        self.site_id = site_id
        self.tags = tags
        self.positions: dict[str, Position] = {}
        """By the key of the rule."""
        self.tracks: tuple[Track, ...] = ()
        """Of the rules whose memory is filled."""
        self.values: dict[str, Newest] = {}
        """Of the metrics that the plan names."""
        self.filling: dict[str, list[tuple[int, Any]]] = {}
        """Readings committed while the memory of a rule is being filled."""
        self.busy = bool(plan.remembering)
        self.moving = False
        """Whether a rule without a memory is not at rest."""

    @property
    def idle(self) -> bool:
        """Return whether nothing is known of the device that would have to be read again."""
        return not (self.positions or self.tracks or self.filling)

    def remember(self, planned: PlannedRule, memory: Memory) -> None:
        """Let a rule have its memory. Not while a batch is tried."""
        others = [track for track in self.tracks if track.planned.key != planned.key]
        self.tracks = (*others, Track(planned, memory))
        self.settle()

    def settle(self) -> None:
        """Forget what is at rest, and note what is not. Called after each change of rules, positions or tracks."""
        positions = self.positions
        resting = [key for key, position in positions.items() if position.version == 0 and position.state == REST]
        for key in resting:
            del positions[key]
        moving = set(positions)
        for track in self.tracks:
            at_rest = track.planned.key not in positions
            track.low, track.high = track.planned.bounds if at_rest else NEVER
            moving.discard(track.planned.key)
        self.moving = any(self._moves_alone(key) for key in moving)
        self.busy = self.moving or len(self.tracks) < self.plan.memories

    def _moves_alone(self, key: str) -> bool:
        """Return whether readings alone move a rule, without a memory."""
        planned = self.plan.by_key.get(key)
        return planned is None or planned.kind.memory is None
