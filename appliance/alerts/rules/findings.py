"""What a preview looks for, where it looks, and what it has found so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import trio

from appliance.alerts.kinds.kind import Kind, Parameters
from appliance.alerts.rules.rule import Scope
from appliance.db import statements

STATEMENTS = statements.load("rule_preview")

DAYS = 7
MAX_READINGS = 200_000
MAX_SECONDS = 2.0
"""Seconds that reading and judging may take together."""
MAX_OPENINGS = 1000
"""Openings that are kept; further ones are counted."""


class Stop(StrEnum):
    """Why a preview did not cover everything."""

    TIME = "time"
    READINGS = "readings"


class PreviewedRule(NamedTuple):
    """What of a rule decides what it opens. Can be compared and hashed."""

    kind: Kind
    parameters: Parameters
    scope: Scope


@dataclass(frozen=True, slots=True)
class Opening:
    """An alert that would have opened. Times are seconds since 1970 UTC."""

    device_id: str
    started_at: float
    """The time of the reading that opens it, or of the end of the silence that does."""
    ended_at: float | None
    """None: it would be open still."""
    value: Any
    """What was compared when it opened; None for silence."""
    extreme: Any
    """The value that is farthest beyond the limit while it is open."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The outcome, and what it covered."""

    first: datetime
    last: datetime
    alerts: int
    openings: Sequence[Opening]
    """Newest first, at most MAX_OPENINGS."""
    by_device: Mapping[str, int]
    """How many each device would have opened, most first; devices without any are not in it."""
    covered: Sequence[str]
    """The devices of the scope, in order."""
    reporting: Sequence[str]
    """Those of them that ever sent the metric."""
    checked: int
    """How many of these were judged to the end."""
    readings: int
    seconds: float
    stopped: Stop | None

    @property
    def telling(self) -> str | None:
        """Return the device to show first: that with most openings, else the first that sent the metric."""
        return next(iter(self.by_device), next(iter(self.reporting), None))


class Covered(NamedTuple):
    """A device of the scope."""

    device_id: str
    reports: bool
    """Whether it ever sent the metric."""
    offline_after: float
    """Seconds of silence after which it is OFFLINE."""


@dataclass(slots=True)
class Findings:
    """What was found so far."""

    began: float = field(default_factory=trio.current_time)
    openings: list[Opening] = field(default_factory=list)
    by_device: dict[str, int] = field(default_factory=dict)
    checked: int = 0
    readings: int = 0
    stopped: Stop | None = None

    @property
    def seconds(self) -> float:
        """Return how long it has taken."""
        return trio.current_time() - self.began

    def add(self, opening: Opening | None) -> None:
        """Count an opening, if it is one, and keep it while there is room."""
        if opening is None:
            return
        self.by_device[opening.device_id] = self.by_device.get(opening.device_id, 0) + 1
        if len(self.openings) < MAX_OPENINGS:
            self.openings.append(opening)

    def due_stop(self) -> Stop | None:
        """Return why to stop now; None: go on."""
        if self.readings >= MAX_READINGS:
            return Stop.READINGS
        return Stop.TIME if self.seconds >= MAX_SECONDS else None
