"""The kind ``window``: the average, the least or the greatest value of a metric over the last while is past a limit.

Readings are kept in slots of time, not one by one, so that a device that sends often costs no more than one that sends
seldom. The aggregate covers the slot of the reading and those before it that make up the window: for windows of up to
24 minutes, whole seconds.
"""

from array import array
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.comparison import Operator, is_number
from appliance.alerts.kinds.fields import MOST_READINGS, WEEK, Fields
from appliance.alerts.kinds.kind import Event, Kind, KindName, Memory, Parameters, RuleState, Sample, Step
from appliance.alerts.kinds.verdict import MICROSECONDS, advance, judge, quiet_side

DAY = 86_400
"""The longest window, in seconds: after a start it is filled from telemetry, for every device."""
MOST_SLOTS = 1440
RECKON_AFTER = 64
"""Slots that leave before the sum is reckoned anew: rounding must not add up."""
COMPACT = 40
"""Numbers of slots that left, eight of them, before the rows are made anew without them."""
AGGREGATES = ("avg", "min", "max")


class WindowParameters(Parameters, frozen=True, kw_only=True):
    """A limit of an aggregate."""

    metric: str
    aggregate: str
    window_seconds: int
    operator: Operator
    value: float
    clear_value: float | None = None
    """Hysteresis: an open alert closes only past this value."""
    for_seconds: int | None = None
    """The breach must last."""
    for_count: int | None = None
    """The readings in a row at which the aggregate must breach."""
    clear_for_seconds: int | None = None
    """The way back must last."""


class Past(NamedTuple):
    """The slots before the newest, and what the aggregate needs of them together. Replaced; ``rows`` grows in place."""

    rows: "array[float]"
    """STRIDE numbers a slot: number, total, readings, least and greatest. What is before ``first`` or from ``end`` on
    does not count."""
    first: int
    end: int
    total: float
    readings: int
    least: float
    greatest: float
    forgotten: int
    """Slots that left since the total was reckoned anew."""


STRIDE = 5
NO_PAST = Past(array("d"), 0, 0, 0.0, 0, inf, -inf, 0)
"""Of windows with one slot. Its rows are never added to."""
State = tuple[int, int, float, int, float, float, Past]
"""The time of the newest reading; end, total, readings, least and greatest value of its slot; the slots before. A plain
tuple: it is made anew with each reading."""
EMPTY: State = (-1, 0, 0.0, 0, inf, -inf, NO_PAST)


class Slots:
    """The readings of a window, in order of time. Slots without a reading are not kept.

    What the aggregate needs of all slots is carried along, and reckoned anew only where a slot that left may have held
    the least or the greatest value: a window of a day costs a reading no more than one of a minute.
    """

    __slots__ = ("_aggregate", "_most", "_width", "state")

    def __init__(self, aggregate: str, width: int, most: int) -> None:
        """``width`` is that of a slot, in microseconds; ``most`` slots make up the window."""
        self._aggregate = aggregate
        self._width = width
        self._most = most
        self.state = EMPTY

    @property
    def slots(self) -> int:
        """Return the number of slots with a reading, MOST_SLOTS at most."""
        past = self.state[6]
        return (past.end - past.first) // STRIDE + (self.state[3] > 0)

    def take(self, ts: int, value: float) -> float:
        """Take a reading's value, unless its time is not newer than all before. Return the aggregate.

        Called once a reading and window: that is what a rule costs that is at rest.
        """
        newest, end, total, count, least, greatest, past = self.state
        if ts > newest:
            value += 0.0  # a float: what is too large for one must not go into the total
            if ts < end:
                total += value
                count += 1
                if value < least:
                    least = value
                if value > greatest:
                    greatest = value
            else:
                slot = ts // self._width
                past = self._past_of(slot)
                end, total, count, least, greatest = (slot + 1) * self._width, value, 1, value, value
            self.state = (ts, end, total, count, least, greatest, past)
        _, _, _, past_total, past_count, past_least, past_greatest, _ = past
        if self._aggregate == "avg":
            average = (past_total + total) / (past_count + count)
            # Rounding must not carry the average of equal values past them, and so past the limit.
            if average < least and average < past_least:
                return min(least, past_least)
            if average > greatest and average > past_greatest:
                return max(greatest, past_greatest)
            return average
        if self._aggregate == "min":
            return min(least, past_least)
        return max(greatest, past_greatest)

    def _past_of(self, slot: int) -> Past:
        """Return the past of a new slot: the newest one so far is added, and those leave that are too far from it."""
        newest, _, total, count, least, greatest, past = self.state
        number = newest // self._width
        if not count or number <= slot - self._most:
            return NO_PAST
        rows, first, end, all_total, all_count, all_least, all_greatest, forgotten = past
        if not end:
            rows = array("d")
        del rows[end:]  # of a state that was given up
        rows.extend((number, total, count, least, greatest))
        added = Past(
            rows,
            first,
            end + STRIDE,
            all_total + total,
            all_count + count,
            min(all_least, least),
            max(all_greatest, greatest),
            forgotten,
        )
        return _without(added, slot - self._most)


def _without(past: Past, last: int) -> Past:
    """Return the past without the slots up to the number ``last``; one slot stays."""
    rows, first, end, total, count, least, greatest, forgotten = past
    if rows[first] > last:
        return past
    at_bounds = False
    while rows[first] <= last:
        total -= rows[first + 1]
        count -= int(rows[first + 2])
        at_bounds = at_bounds or rows[first + 3] <= least or rows[first + 4] >= greatest
        first += STRIDE
        forgotten += 1
    if first >= COMPACT and 2 * first >= end:
        rows, first, end = rows[first:end], 0, end - first  # others: a mark may stand in these
    if forgotten >= RECKON_AFTER or end - first == STRIDE:
        total, forgotten = sum(rows[first + 1 : end : STRIDE]), 0
    if at_bounds:
        least, greatest = min(rows[first + 3 : end : STRIDE]), max(rows[first + 4 : end : STRIDE])
    return Past(rows, first, end, total, count, least, greatest, forgotten)


def parse(given: Mapping[str, Any]) -> WindowParameters:
    """Return the parameters. Raises Invalid with the field."""
    fields = Fields(given, WindowParameters.__struct_fields__)
    operator, value = fields.operator(), fields.number("value")
    return WindowParameters(
        metric=fields.metric(),
        aggregate=fields.choice("aggregate", AGGREGATES),
        window_seconds=fields.whole("window_seconds", DAY, "seconds"),
        operator=operator,
        value=value,
        clear_value=fields.clear_value(operator, value),
        for_seconds=fields.optional_whole("for_seconds", WEEK, "seconds"),
        for_count=fields.optional_whole("for_count", MOST_READINGS, "readings"),
        clear_for_seconds=fields.optional_whole("clear_for_seconds", WEEK, "seconds"),
    )


def step(parameters: WindowParameters, state: RuleState, sample: Sample, memory: Memory | None) -> Step:
    """Take the reading into the window and judge the aggregate. Without a memory nothing is judged."""
    value = sample.metrics[parameters.metric]
    if not isinstance(memory, Slots) or not is_number(value):
        return Step(state, Event.NOTHING)
    aggregate = memory.take(sample.ts, value)
    verdict = judge(parameters.operator, aggregate, parameters.value, parameters.clear_value)
    assert verdict is not None, "numbers can be compared"  # noqa: S101 - narrows the type
    after, event = advance(
        state,
        verdict,
        sample.ts,
        for_seconds=parameters.for_seconds,
        for_count=parameters.for_count,
        clear_for_seconds=parameters.clear_for_seconds,
    )
    return Step(after, event, aggregate)


def memory_of(parameters: WindowParameters) -> Slots:
    """Return an empty window."""
    return Slots(parameters.aggregate, *_slots(parameters))


def refill(parameters: WindowParameters) -> float:
    """Return the seconds of telemetry that fill a window: whole slots, so a little more than the window itself."""
    width, most = _slots(parameters)
    return width * most / MICROSECONDS


def _slots(parameters: WindowParameters) -> tuple[int, int]:
    """Return the width of a slot in microseconds, and how many make up the window."""
    window = parameters.window_seconds * MICROSECONDS
    width = max(MICROSECONDS, -(-window // MOST_SLOTS))
    return width, -(-window // width)


def quiet(parameters: WindowParameters) -> tuple[float, float] | None:
    """Return the bounds between which the aggregate leaves a state at rest as it is."""
    return quiet_side(parameters.operator, parameters.value)


WINDOW = Kind(
    name=KindName.WINDOW,
    alert_type=AlertType.WINDOW,
    parse=parse,
    step=step,
    memory=memory_of,
    refill=refill,
    quiet=quiet,
    named=lambda _: frozenset(),
)
