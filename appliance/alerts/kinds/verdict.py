"""From verdicts on single readings to the opening and the closing of an alert.

A reading breaches, is clear, or lies between: past ``clear_value`` and not past the limit. A breach opens when it has
lasted long enough and for enough readings, in a row; an open alert closes when all readings have been clear for long
enough. All time is that of the readings.
"""

from enum import Enum
from typing import Any

from appliance.alerts.kinds.comparison import DOWNWARD, UPWARD, Operator, compare
from appliance.alerts.kinds.kind import REST, Event, RuleState

MICROSECONDS = 1_000_000

OPEN = RuleState(open=True)
"""An alert is open, and no reading has been clear since."""


class Verdict(Enum):
    """What one reading says by itself."""

    BREACH = "breach"
    BETWEEN = "between"
    """Inside hysteresis: it neither breaches nor is it clear."""
    CLEAR = "clear"


def advance(
    state: RuleState,
    verdict: Verdict,
    ts: int,
    *,
    for_seconds: int | None = None,
    for_count: int | None = None,
    clear_for_seconds: int | None = None,
) -> tuple[RuleState, Event]:
    """Return the state after a reading, and what happened. Returns ``state`` itself if it stays as it is."""
    if state.open:
        return _open(state, verdict, ts, clear_for_seconds)
    if verdict is not Verdict.BREACH:
        return REST, Event.NOTHING
    since = (state.since or ts) if for_seconds else 0
    count = state.count + 1 if for_count else 0
    if (for_seconds is None or ts - since >= for_seconds * MICROSECONDS) and (for_count is None or count >= for_count):
        return OPEN, Event.OPENED
    if (since, count) == (state.since, state.count):
        return state, Event.NOTHING
    return RuleState(since=since, count=count), Event.NOTHING


def _open(state: RuleState, verdict: Verdict, ts: int, clear_for_seconds: int | None) -> tuple[RuleState, Event]:
    if verdict is not Verdict.CLEAR:
        event = Event.TRIGGERED if verdict is Verdict.BREACH else Event.NOTHING
        return (OPEN if state.clear_since else state), event
    if not clear_for_seconds:
        return REST, Event.CLOSED
    since = state.clear_since or ts
    if ts - since >= clear_for_seconds * MICROSECONDS:
        return REST, Event.CLOSED
    return (state if state.clear_since else RuleState(open=True, clear_since=since)), Event.NOTHING


def quiet_side(operator: Operator, value: float) -> tuple[float, float] | None:
    """Return the bounds, both exclusive, between which a number surely does not breach; None if there are none."""
    if operator in UPWARD:
        return float("-inf"), value
    if operator in DOWNWARD:
        return value, float("inf")
    return None


def judge(operator: Operator, value: Any, limit: Any, clear_value: float | None) -> Verdict | None:
    """Return what a value says by itself; None if it cannot be compared.

    With ``clear_value`` it is clear only when it would not breach that either.
    """
    breaches = compare(operator, value, limit)
    if breaches is None:
        return None
    if breaches:
        return Verdict.BREACH
    if clear_value is not None and compare(operator, value, clear_value):
        return Verdict.BETWEEN
    return Verdict.CLEAR
