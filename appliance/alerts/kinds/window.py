"""The kind ``window``: the average, the least or the greatest value of a metric over the last while is past a limit.

Readings are kept in slots of time, not one by one, so that a device that sends often costs no more than one that sends
seldom. The aggregate covers the slot of the reading and those before it that make up the window: for windows of up to
24 minutes, whole seconds.
"""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.comparison import Operator, is_number
from appliance.alerts.kinds.fields import MOST_READINGS, WEEK, Fields
from appliance.alerts.kinds.kind import Event, Kind, KindName, Memory, Parameters, RuleState, Sample, Step
from appliance.alerts.kinds.verdict import MICROSECONDS, advance, judge

DAY = 86_400
"""The longest window, in seconds: after a start it is filled from telemetry, for every device."""
MOST_SLOTS = 1440
RECKON_AFTER = 64
"""Slots that leave before the sum is reckoned anew: rounding must not add up."""
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


class Columns(NamedTuple):
    """Slots with a reading, by number: one row each in every column."""

    numbers: "array[int]"
    sums: "array[float]"
    counts: "array[int]"
    least: "array[float]"
    greatest: "array[float]"


class Slots:
    """The readings of a window, in order of time. Slots without a reading are not kept.

    What the aggregate needs of all slots is carried along, and reckoned anew only where a slot that left may have held
    the least or the greatest value: a window of a day costs a reading no more than one of a minute.
    """

    __slots__ = (
        "_aggregate",
        "_columns",
        "_forgotten",
        "_greatest",
        "_least",
        "_most",
        "_readings",
        "_total",
        "_width",
    )

    def __init__(self, aggregate: str, width: int, most: int, columns: Columns) -> None:
        """``width`` is that of a slot, in microseconds; ``most`` slots make up the window."""
        self._aggregate = aggregate
        self._width = width
        self._most = most
        self._columns = columns
        self._readings = 0
        self._total = 0.0
        self._forgotten = 0
        self._least, self._greatest = inf, -inf

    @property
    def slots(self) -> int:
        """Return the number of slots with a reading, MOST_SLOTS at most."""
        return len(self._columns.numbers)

    def copy(self) -> "Slots":
        """Return one that can be changed without changing this one."""
        numbers, sums, counts, least, greatest = self._columns
        columns = Columns(numbers[:], sums[:], counts[:], least[:], greatest[:])
        made = Slots(self._aggregate, self._width, self._most, columns)
        made._readings, made._total, made._forgotten = self._readings, self._total, self._forgotten
        made._least, made._greatest = self._least, self._greatest
        return made

    def add(self, ts: int, value: Any) -> None:
        """Take the value of a reading. What is no number, or older than what is there, is left out."""
        if not is_number(value):
            return
        number, (numbers, sums, counts, least, greatest) = ts // self._width, self._columns
        if not numbers or number > numbers[-1]:
            self._forget(number - self._most)
            numbers.append(number)
            sums.append(value)
            counts.append(1)
            least.append(value)
            greatest.append(value)
        elif number == numbers[-1]:
            sums[-1] += value
            counts[-1] += 1
            least[-1] = min(least[-1], value)
            greatest[-1] = max(greatest[-1], value)
        else:
            return
        self._readings += 1
        self._total += value
        self._least, self._greatest = min(self._least, float(value)), max(self._greatest, float(value))

    def aggregate(self) -> float:
        """Return the aggregate at the newest reading. There must be one."""
        if self._aggregate == "min":
            return self._least
        if self._aggregate == "max":
            return self._greatest
        # Rounding must not carry the average of equal values past them, and so past the limit.
        return min(max(self._total / self._readings, self._least), self._greatest)

    def _forget(self, last: int) -> None:
        """Drop the slots up to the number ``last``."""
        _, sums, counts, least, greatest = self._columns
        gone = bisect_right(self._columns.numbers, last)
        if not gone:
            return
        at_bounds = min(least[:gone]) <= self._least or max(greatest[:gone]) >= self._greatest
        self._readings -= sum(counts[:gone])
        self._total -= sum(sums[:gone])
        for column in self._columns:
            del column[:gone]
        self._forgotten += gone
        if self._forgotten >= RECKON_AFTER or not sums:
            self._total, self._forgotten = sum(sums), 0
        if at_bounds:
            self._least, self._greatest = min(least, default=inf), max(greatest, default=-inf)


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
    memory.add(sample.ts, value)
    aggregate = memory.aggregate()
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
    width, most = _slots(parameters)
    columns = Columns(array("q"), array("d"), array("q"), array("d"), array("d"))
    return Slots(parameters.aggregate, width, most, columns)


def refill(parameters: WindowParameters) -> float:
    """Return the seconds of telemetry that fill a window: whole slots, so a little more than the window itself."""
    width, most = _slots(parameters)
    return width * most / MICROSECONDS


def _slots(parameters: WindowParameters) -> tuple[int, int]:
    """Return the width of a slot in microseconds, and how many make up the window."""
    window = parameters.window_seconds * MICROSECONDS
    width = max(MICROSECONDS, -(-window // MOST_SLOTS))
    return width, -(-window // width)


WINDOW = Kind(
    name=KindName.WINDOW,
    alert_type=AlertType.WINDOW,
    parse=parse,
    step=step,
    memory=memory_of,
    refill=refill,
    quiet=lambda _: None,
    named=lambda _: frozenset(),
)
