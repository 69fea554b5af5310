"""When a change opens and closes."""

from typing import Any

from appliance.alerts.kinds.kind import REST, Event, KindName, RuleState, Sample
from appliance.alerts.kinds.table import KINDS
from tests.alerts.kinds.series import SECOND, each, happened


def change(rule: dict[str, Any], *readings: tuple[float, Any]) -> list[tuple[float, str]]:
    return happened(KindName.CHANGE, rule, *readings)


def test_the_first_value_ever_is_no_change() -> None:
    assert change({}, (0, "auto")) == []
    assert change({"to": "auto"}, (0, "auto"), (1, "auto")) == []


def test_a_change_opens_further_ones_trigger_and_the_same_value_closes() -> None:
    assert change({}, *each(["a", "a", "b", "c", "c", "c", "b"])) == [
        (20, "opened"),
        (30, "triggered"),
        (40, "closed"),
        (60, "opened"),
    ]


def test_text_booleans_and_numbers_change() -> None:
    assert change({}, *each([True, False])) == [(10, "opened")]
    assert change({}, *each([1, True])) == [(10, "opened")]
    assert change({}, *each([1, 1.0, 1])) == []
    assert change({}, *each([1, "1"])) == [(10, "opened")]


def test_it_closes_once_the_value_has_stayed_for_long_enough() -> None:
    rule = {"clear_for_seconds": 20}
    assert change(rule, *each(["a", "b", "b", "b"])) == [(10, "opened"), (30, "closed")]
    assert change(rule, *each(["a", "b", "b", "c", "c", "c"])) == [
        (10, "opened"),
        (30, "triggered"),
        (50, "closed"),
    ]


def test_only_a_change_to_the_given_value_opens_and_any_other_closes() -> None:
    rule = {"to": "manual"}
    assert change(rule, *each(["auto", "off", "manual", "manual", "off"])) == [
        (20, "opened"),
        (30, "triggered"),
        (40, "closed"),
    ]
    assert change({"to": 1}, *each([0, True, 1])) == [(20, "opened")]
    assert change({"to": False}, *each([True, 0, False])) == [(20, "opened")]


def test_what_is_there_already_opens_only_when_it_comes_back() -> None:
    assert change({"to": "manual"}, *each(["manual", "manual", "auto", "manual"])) == [(30, "opened")]


def test_with_a_given_value_the_way_back_must_last() -> None:
    rule = {"to": "manual", "clear_for_seconds": 20}
    assert change(rule, *each(["auto", "manual", "auto", "manual", "auto", "off", "auto"])) == [
        (10, "opened"),
        (30, "triggered"),
        (60, "closed"),
    ]


def test_an_open_alert_whose_last_value_is_not_known_closes_at_the_next() -> None:
    kind = KINDS[KindName.CHANGE]
    assert kind.step is not None
    sample = Sample(5 * SECOND, {"t": "b"}, lambda _: None, lambda _: None)
    outcome = kind.step(kind.parse({"metric": "t"}), RuleState(open=True), sample, None)
    assert (outcome.state, outcome.event) == (REST, Event.CLOSED)


def test_the_last_value_of_its_metric_must_be_known() -> None:
    kind = KINDS[KindName.CHANGE]
    assert kind.named(kind.parse({"metric": "t", "to": 1})) == {"t"}
