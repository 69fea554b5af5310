"""When the aggregate of a window opens and closes, and what a window keeps."""

import random
from math import inf
from typing import Any

import pytest

from appliance.alerts.kinds.kind import REST, Event, KindName, Sample
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.kinds.window import MOST_SLOTS, Slots
from tests.alerts.kinds.series import SECOND, each, happened
from tests.support.soak import times

KIND = KINDS[KindName.WINDOW]
ABOVE = {"aggregate": "avg", "window_seconds": 30, "operator": "GT", "value": 8}


def window(rule: dict[str, Any], *readings: tuple[float, Any]) -> list[tuple[float, str]]:
    return happened(KindName.WINDOW, rule, *readings)


def slots(aggregate: str = "avg", seconds: int = 30) -> Slots:
    """Return an empty window."""
    assert KIND.memory is not None
    made = KIND.memory(KIND.parse({**ABOVE, "metric": "t", "aggregate": aggregate, "window_seconds": seconds}))
    assert isinstance(made, Slots)
    return made


@pytest.mark.parametrize(
    ("aggregate", "wanted"),
    [
        ("avg", [(20, "opened"), (30, "triggered"), (40, "triggered"), (50, "closed")]),
        ("max", [(10, "opened"), (20, "triggered"), (30, "triggered"), (40, "triggered"), (50, "triggered")]),
        ("min", [(30, "opened"), (40, "closed")]),
    ],
)
def test_each_aggregate_covers_the_readings_of_the_window(aggregate: str, wanted: list[tuple[float, str]]) -> None:
    # averages of three: 7, 8, 8.67, 11, 9, 6
    assert window({**ABOVE, "aggregate": aggregate}, *each([7, 9, 10, 14, 3, 1])) == wanted


def test_it_is_judged_from_the_first_reading_on() -> None:
    assert window(ABOVE, (0, 9)) == [(0, "opened")]


def test_what_is_older_than_the_window_does_not_count() -> None:
    assert window(ABOVE, (0, 100), (29, 1), (30, 1)) == [(0, "opened"), (29, "triggered"), (30, "closed")]


def test_hysteresis_and_the_way_back_are_those_of_the_aggregate() -> None:
    rule = {**ABOVE, "window_seconds": 1, "clear_value": 6, "clear_for_seconds": 20}
    assert window(rule, *each([9, 7, 5, 5, 5])) == [(0, "opened"), (40, "closed")]


def test_a_breach_of_the_aggregate_may_have_to_last() -> None:
    rule = {**ABOVE, "window_seconds": 1}
    assert window({**rule, "for_seconds": 20}, *each([9, 9, 7, 9, 9, 9])) == [(50, "opened")]
    assert window({**rule, "for_count": 2}, *each([9, 7, 9, 9])) == [(30, "opened")]


def test_what_is_no_number_is_left_out() -> None:
    assert window(ABOVE, (0, 9), (1, True), (2, "9"), (3, 1)) == [(0, "opened"), (3, "closed")]


def test_the_average_of_equal_values_is_that_value() -> None:
    rule = {**ABOVE, "value": 0.1}
    assert window(rule, *each([0.1] * 30, every=1)) == []


def test_without_its_memory_nothing_is_judged() -> None:
    assert KIND.step is not None
    sample = Sample(5 * SECOND, {"t": 9}, lambda _: None, lambda _: None)
    outcome = KIND.step(KIND.parse({**ABOVE, "metric": "t"}), REST, sample, None)
    assert (outcome.state, outcome.event) == (REST, Event.NOTHING)


def test_the_outcome_tells_the_aggregate() -> None:
    assert KIND.step is not None
    filled = slots()
    filled.take(4 * SECOND, 5)
    sample = Sample(5 * SECOND, {"t": 9}, lambda _: None, lambda _: None)
    assert KIND.step(KIND.parse({**ABOVE, "metric": "t"}), REST, sample, filled).value == 7


@pytest.mark.parametrize("seconds", [1, 30, 1440, 1441, 5003, 86_400])
def test_a_window_never_keeps_more_than_so_many_slots(seconds: int) -> None:
    filled = slots(seconds=seconds)
    for number in range(5000):
        filled.take(number * SECOND * max(1, seconds // 2000), number)
        assert filled.slots <= MOST_SLOTS
    assert filled.slots == min(seconds, MOST_SLOTS) or seconds > MOST_SLOTS


@pytest.mark.parametrize("aggregate", ["avg", "min", "max"])
def test_what_a_try_took_is_forgotten_when_it_fails(aggregate: str) -> None:
    chance = random.Random(aggregate)
    for seconds in (1, 5, 40, 2000):
        tried, plain, at = slots(aggregate, seconds), slots(aggregate, seconds), 0
        for _ in range(times(150)):
            before, begun, ahead = tried.state, tried.slots, at
            for _ in range(chance.randrange(6)):
                ahead += chance.choice([1, SECOND, 7 * SECOND, 60 * SECOND])
                tried.take(ahead, chance.randrange(100))
            tried.state = before
            assert tried.slots == begun
            at += chance.choice([1, SECOND, 2 * SECOND, 30 * SECOND])
            value = chance.randrange(100)
            assert tried.take(at, value) == plain.take(at, value)
            assert tried.slots == plain.slots


def test_what_has_left_a_window_is_not_kept_for_long() -> None:
    filled = slots(seconds=30)
    for number in range(5000):
        filled.take(number * SECOND, number)
        assert len(filled.state[6].rows) <= 2 * 5 * 30


def test_a_reading_older_than_what_is_there_is_left_out() -> None:
    filled = slots("max")
    assert filled.take(60 * SECOND, 3) == 3
    assert filled.take(50 * SECOND, 9) == 3
    assert filled.take(60 * SECOND, 9) == 3
    assert filled.take(60 * SECOND + 1, 9) == 9


def test_telemetry_of_whole_slots_fills_a_window() -> None:
    assert KIND.refill is not None
    for seconds, wanted in ((30, 30), (1440, 1440), (86_400, 86_400)):
        assert KIND.refill(KIND.parse({**ABOVE, "metric": "t", "window_seconds": seconds})) == wanted
    assert 5003 <= KIND.refill(KIND.parse({**ABOVE, "metric": "t", "window_seconds": 5003})) < 5007


@pytest.mark.parametrize(
    ("operator", "wanted"), [("GT", (-inf, 8)), ("GTE", (-inf, 8)), ("LT", (8, inf)), ("LTE", (8, inf)), ("EQ", None)]
)
def test_an_aggregate_that_surely_does_not_breach_needs_no_judging(operator: str, wanted: Any) -> None:
    assert KIND.quiet(KIND.parse({**ABOVE, "metric": "t", "operator": operator})) == wanted
