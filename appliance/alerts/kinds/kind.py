"""What every kind of rule is made of: parameters, a state, and a pure step from one reading to the next.

The stream, the preview and the tests' reference drive the same step. It knows nothing of rules, devices or clocks: all
time is that of the readings, in microseconds since 1970 UTC.
"""

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from appliance.alerts.alert import AlertType


class KindName(StrEnum):
    """The kinds, as the API calls them."""

    THRESHOLD = "threshold"
    WINDOW = "window"
    NO_DATA = "no_data"
    CHANGE = "change"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of a rule. Each kind has its own fields; ``metric`` is the one whose readings judge it."""

    metric: str | None = None


class RuleState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, array_like=True):
    """Where a rule stands with a device. The state of a device that is at rest is REST, and is kept nowhere."""

    open: bool = False
    """Whether an alert is open."""
    since: int = 0
    """Not open: when the breach that goes on began; 0 without one."""
    count: int = 0
    """Not open: readings in a row that breach."""
    clear_since: int = 0
    """Open: since when all readings are clear; 0 while they are not."""


REST = RuleState()


class Newest(NamedTuple):
    """The newest value of a metric of the device."""

    value: Any
    ts: int | None
    """None: not known."""


class Sample(NamedTuple):
    """One reading as a step is shown it."""

    ts: int
    metrics: Mapping[str, Any]
    """The values that it brings."""
    newest: Callable[[str], Newest | None]
    """The newest value of a metric of the same device, this reading included."""
    before: Callable[[str], Newest | None]
    """The same without this reading."""


class Event(Enum):
    """What a step did."""

    NOTHING = "nothing"
    OPENED = "opened"
    TRIGGERED = "triggered"
    """The alert is open, and this reading breaches by itself."""
    CLOSED = "closed"


class Step(NamedTuple):
    """The outcome of one reading. ``value`` is what was compared: the metric's, or the aggregate of a window."""

    state: RuleState
    event: Event
    value: Any = None


class Memory(Protocol):
    """What a kind remembers of a device that telemetry tells again: it is not written, but filled in after a start."""

    state: Any
    """All that it has taken. Replaced, never changed: one from before, put back, makes it forget what came since. Those
    that came since are worth nothing then."""

    def take(self, ts: int, value: float) -> float:
        """Take a reading's value of the metric, unless its time is not newer than all before.

        Return what a rule compares with its limit.
        """
        ...


class Kind(NamedTuple):
    """One kind, as ``appliance.alerts.kinds.table`` lists it."""

    name: KindName
    alert_type: AlertType
    parse: Callable[[Mapping[str, Any]], Any]
    """Makes the parameters from JSON; raises Invalid with the field and what to write there."""
    step: Callable[[Any, RuleState, Sample, Memory | None], Step] | None
    """Parameters, state, reading, memory. None: no reading opens it, a timer does. Called only for readings with the
    metric. It changes nothing but the memory, which may have taken the reading before."""
    memory: Callable[[Any], Memory] | None
    """Makes an empty memory for the parameters, for kinds that need one."""
    refill: Callable[[Any], float] | None
    """The seconds of telemetry that fill a memory."""
    quiet: Callable[[Any], tuple[float, float] | None]
    """Bounds between which a number leaves a state at REST as it is, both exclusive; None: every reading must be
    judged. The number is the reading's value, or for a kind with a memory what that makes of it."""
    named: Callable[[Any], frozenset[str]]
    """The metrics of which a step asks the newest value or the one before, or a timer asks when they last came."""
