"""When a threshold opens and closes, rule by rule."""

from typing import Any

import pytest

from appliance.alerts.kinds.kind import REST, Event, KindName, Newest, RuleState, Sample
from appliance.alerts.kinds.table import KINDS
from tests.alerts.kinds.series import SECOND, each, happened

KIND = KINDS[KindName.THRESHOLD]
ABOVE = {"operator": "GT", "value": 8}


def threshold(rule: dict[str, Any], *readings: tuple[float, Any]) -> list[tuple[float, str]]:
    return happened(KindName.THRESHOLD, rule, *readings)


@pytest.mark.parametrize(
    ("operator", "limit", "breaching", "clear"),
    [
        ("GT", 8, [8.01, 9, 2**60], [8, 8.0, -1]),
        ("GTE", 8, [8, 8.0], [7.99]),
        ("LT", 8, [7.99, -1e9], [8, 9]),
        ("LTE", 8, [8, 7], [8.01]),
        ("EQ", 1, [1, 1.0], [2, True, "1"]),
        ("EQ", True, [True], [False, 1, "True"]),
        ("EQ", "on", ["on"], ["ON", "", True]),
        ("NE", 0, [1, False, "x"], [0, 0.0]),
        ("NE", "auto", ["manual", 1], ["auto"]),
        ("GT", 2**53, [2**53 + 1], [2**53]),
    ],
)
def test_each_operator_compares_exactly(operator: str, limit: Any, breaching: list[Any], clear: list[Any]) -> None:
    for value in breaching:
        assert threshold({"operator": operator, "value": limit}, (0, value)) == [(0, "opened")], value
    for value in clear:
        assert threshold({"operator": operator, "value": limit}, (0, value)) == [], value


def test_it_opens_triggers_and_closes_at_once_without_anything_else() -> None:
    assert threshold(ABOVE, *each([5, 9, 9, 8, 9])) == [
        (10, "opened"),
        (20, "triggered"),
        (30, "closed"),
        (40, "opened"),
    ]


def test_a_value_that_cannot_be_compared_says_nothing() -> None:
    rule = {**ABOVE, "for_count": 2}
    assert threshold(rule, *each([9, "text", True, 9])) == [(30, "opened")]
    assert threshold(ABOVE, *each([9, "text", False, 5])) == [(0, "opened"), (30, "closed")]


def test_between_limit_and_clear_value_nothing_happens() -> None:
    rule = {**ABOVE, "clear_value": 6}
    assert threshold(rule, *each([7, 9, 7, 6.1, 6, 7])) == [(10, "opened"), (40, "closed")]
    below = {"operator": "LTE", "value": 3, "clear_value": 5}
    assert threshold(below, *each([3, 4, 5, 5.1])) == [(0, "opened"), (30, "closed")]


def test_a_clear_value_at_the_limit_changes_nothing() -> None:
    assert threshold({**ABOVE, "clear_value": 8}, *each([9, 8])) == [(0, "opened"), (10, "closed")]


def test_a_breach_lasts_by_the_times_of_the_readings_and_each_reading_counts() -> None:
    rule = {**ABOVE, "for_seconds": 30}
    assert threshold(rule, *each([9, 9, 9, 9])) == [(30, "opened")]
    assert threshold(rule, (0, 9), (29.9, 9), (3600, 9)) == [(3600, "opened")]
    assert threshold(rule, *each([9, 9, 9, 8, 9, 9, 9, 9])) == [(70, "opened")]


def test_inside_hysteresis_a_breach_starts_anew() -> None:
    rule = {**ABOVE, "clear_value": 6, "for_seconds": 20}
    assert threshold(rule, *each([9, 9, 7, 9, 9, 9])) == [(50, "opened")]


def test_so_many_readings_in_a_row_breach() -> None:
    rule = {**ABOVE, "for_count": 3}
    assert threshold(rule, *each([9, 9, 5, 9, 9, 9, 9])) == [(50, "opened"), (60, "triggered")]


def test_with_a_duration_and_a_count_both_must_hold() -> None:
    rule = {**ABOVE, "for_count": 3, "for_seconds": 15}
    assert threshold(rule, (0, 9), (20, 9), (21, 9)) == [(21, "opened")]
    assert threshold(rule, (0, 9), (1, 9), (2, 9), (15, 9)) == [(15, "opened")]


def test_the_way_back_must_last_and_a_breach_or_the_band_starts_it_anew() -> None:
    rule = {**ABOVE, "clear_value": 6, "clear_for_seconds": 20}
    assert threshold(rule, *each([9, 5, 5, 5])) == [(0, "opened"), (30, "closed")]
    assert threshold(rule, *each([9, 5, 7, 5, 5, 5])) == [(0, "opened"), (50, "closed")]
    assert threshold(rule, *each([9, 5, 9, 5, 5, 5])) == [(0, "opened"), (20, "triggered"), (50, "closed")]


IS_OPEN = {"metric": "hatch", "operator": "EQ", "value": True, "max_age_seconds": 60}


def test_further_conditions_must_hold_on_the_newest_values_of_the_device() -> None:
    rule = {**ABOVE, "conditions": [IS_OPEN, {"metric": "n", "operator": "GT", "value": 1, "max_age_seconds": 60}]}
    both = {"hatch": True, "n": 2}
    assert threshold(rule, (0, 9)) == []
    assert threshold(rule, (0, {"hatch": True}), (1, 9)) == []
    assert threshold(rule, (0, both), (1, 9)) == [(1, "opened")]
    assert threshold(rule, (0, {**both, "t": 9})) == [(0, "opened")]
    assert threshold(rule, (0, {"hatch": 1, "n": 2}), (1, 9)) == []
    assert threshold(rule, (0, {"hatch": True, "n": "2"}), (1, 9)) == []


def test_a_value_that_is_too_old_does_not_hold_and_the_reading_is_clear() -> None:
    rule = {**ABOVE, "conditions": [IS_OPEN]}
    opened = [(0, {"hatch": True}), (60, 9)]
    assert threshold(rule, *opened) == [(60, "opened")]
    assert threshold(rule, *opened, (60.1, 9)) == [(60, "opened"), (60.1, "closed")]
    assert threshold(rule, *opened, (61, {"hatch": False}), (62, 9)) == [(60, "opened"), (62, "closed")]


def test_a_condition_whose_time_is_not_known_does_not_hold() -> None:
    parameters = KIND.parse({**ABOVE, "metric": "t", "conditions": [IS_OPEN]})
    sample = Sample(5 * SECOND, {"t": 9}, lambda name: Newest(name == "hatch", None), lambda _: None)
    assert KIND.step is not None
    assert KIND.step(parameters, REST, sample, None).event is Event.NOTHING
    assert KIND.named(parameters) == {"hatch"}


@pytest.mark.parametrize(
    ("rule", "between"),
    [
        (ABOVE, (float("-inf"), 8)),
        ({"operator": "GTE", "value": 8, "clear_value": 5}, (float("-inf"), 8)),
        ({"operator": "LT", "value": 8}, (8, float("inf"))),
        ({"operator": "LTE", "value": 2**53 + 1}, (2**53 + 1, float("inf"))),
        ({"operator": "EQ", "value": 8}, None),
        ({"operator": "NE", "value": "x"}, None),
    ],
)
def test_numbers_on_the_safe_side_need_no_judging_at_rest(rule: dict[str, Any], between: Any) -> None:
    assert KIND.quiet(KIND.parse({"metric": "t", **rule})) == between


def test_a_state_that_goes_on_is_the_same_state_so_that_it_is_not_written() -> None:
    assert KIND.step is not None
    for rule, state in (
        ({**ABOVE, "for_seconds": 60}, RuleState(since=1)),
        (ABOVE, RuleState(open=True)),
        ({**ABOVE, "clear_value": 3}, RuleState(open=True)),
    ):
        sample = Sample(5 * SECOND, {"t": 9}, lambda _: None, lambda _: None)
        assert KIND.step(KIND.parse({**rule, "metric": "t"}), state, sample, None).state is state
