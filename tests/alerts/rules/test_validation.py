"""What a person or a program may ask of a rule: each wrong field is named, with the mend."""

from typing import Any

import pytest

from appliance.alerts.kinds.kind import KindName
from appliance.alerts.kinds.no_data import NoDataParameters
from appliance.alerts.rules.rule import Scope
from appliance.alerts.rules.validation import changed, draft_of, flat
from appliance.errors import Invalid
from appliance.severity import Severity

HOT = {"name": "Hot", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": 8}
WINDOW = {**HOT, "kind": "window", "aggregate": "avg", "window_seconds": 300}
SILENT = {"name": "Silent", "severity": "low", "kind": "no_data", "seconds": 60}
MODE = {"name": "Mode", "severity": "info", "kind": "change", "metric": "mode", "to": "manual"}
HATCH_OPEN = {"metric": "hatch_open", "operator": "EQ", "value": True, "max_age_seconds": 300}


def test_a_rule_is_read_with_its_scope_and_parameters() -> None:
    draft = draft_of({**HOT, "name": " Hot ", "scope": {"tags": ["a", "b", "a"], "device_ids": ["d-1"]}})
    assert (draft.name, draft.severity, draft.kind, draft.enabled) == ("Hot", Severity.HIGH, KindName.THRESHOLD, True)
    assert draft.scope == Scope(tags=("a", "b"), device_ids=("d-1",))
    assert draft_of(HOT).scope == draft_of({**HOT, "scope": None}).scope == Scope()


@pytest.mark.parametrize(
    "given",
    [
        {
            **HOT,
            "clear_value": -4.5,
            "for_seconds": 60,
            "for_count": 3,
            "clear_for_seconds": 30,
            "conditions": [HATCH_OPEN],
        },
        {**HOT, "operator": "NE", "value": "off", "description": "why", "enabled": False, "scope": {"tags": ["x"]}},
        {**WINDOW, "clear_value": 7, "for_seconds": 60, "for_count": 2},
        SILENT,
        {**SILENT, "metric": "t"},
        MODE,
        {**MODE, "to": False, "clear_for_seconds": 5},
    ],
)
def test_a_rule_made_flat_is_the_same_rule_again(given: dict[str, Any]) -> None:
    draft = draft_of(given)
    assert draft_of(flat(draft)) == draft


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({**HOT, "name": ""}, "name"),
        ({**HOT, "name": "  "}, "name"),
        ({**HOT, "name": "x" * 129}, "name"),
        ({**HOT, "name": "Hot\r\nBcc: a@example.org"}, "name"),
        ({**HOT, "name": 7}, "name"),
        ({name: value for name, value in HOT.items() if name != "name"}, "name"),
        ({**HOT, "description": "\0"}, "description"),
        ({**HOT, "description": "x" * 2001}, "description"),
        ({**HOT, "enabled": "yes"}, "enabled"),
        ({**HOT, "severity": "bad"}, "severity"),
        ({**HOT, "severity": None}, "severity"),
        ({**HOT, "kind": "regex"}, "kind"),
        ({**HOT, "kind": ["threshold"]}, "kind"),
        ({**HOT, "expression": "(a+)+$"}, "expression"),
        ({**HOT, "seconds": 60}, "seconds"),
        ({**HOT, "metric": None}, "metric"),
        ({**HOT, "metric": "a b"}, "metric"),
        ({**HOT, "metric": "x" * 65}, "metric"),
        ({**HOT, "operator": ">"}, "operator"),
        ({**HOT, "operator": None}, "operator"),
        ({**HOT, "value": None}, "value"),
        ({**HOT, "value": float("nan")}, "value"),
        ({**HOT, "value": float("inf")}, "value"),
        ({**HOT, "value": 10**400}, "value"),
        ({**HOT, "value": "8"}, "value"),
        ({**HOT, "value": True}, "value"),
        ({**HOT, "value": [8]}, "value"),
        ({**HOT, "operator": "EQ", "value": "x" * 257}, "value"),
        ({**HOT, "operator": "EQ", "value": "\0"}, "value"),
        ({**HOT, "operator": "EQ", "value": "\ud800"}, "value"),
        ({**HOT, "operator": "EQ", "value": {}}, "value"),
        ({**HOT, "clear_value": 8.5}, "clear_value"),
        ({**HOT, "operator": "LTE", "clear_value": 7}, "clear_value"),
        ({**HOT, "operator": "EQ", "clear_value": 8}, "clear_value"),
        ({**HOT, "clear_value": float("nan")}, "clear_value"),
        ({**HOT, "for_seconds": 0}, "for_seconds"),
        ({**HOT, "for_seconds": -1}, "for_seconds"),
        ({**HOT, "for_seconds": 1.5}, "for_seconds"),
        ({**HOT, "for_seconds": True}, "for_seconds"),
        ({**HOT, "for_seconds": 604_801}, "for_seconds"),
        ({**HOT, "for_seconds": float("inf")}, "for_seconds"),
        ({**HOT, "for_count": 0}, "for_count"),
        ({**HOT, "for_count": 1001}, "for_count"),
        ({**HOT, "clear_for_seconds": "5 min"}, "clear_for_seconds"),
        ({**HOT, "conditions": "door"}, "conditions"),
        ({**HOT, "conditions": [1]}, "conditions"),
        ({**HOT, "conditions": [HATCH_OPEN] * 4}, "conditions"),
        ({**HOT, "conditions": [HATCH_OPEN, {**HATCH_OPEN, "value": None}]}, "conditions[1].value"),
        ({**HOT, "conditions": [{**HATCH_OPEN, "max_age_seconds": 0}]}, "conditions[0].max_age_seconds"),
        ({**HOT, "conditions": [{**HATCH_OPEN, "max_age_seconds": None}]}, "conditions[0].max_age_seconds"),
        ({**HOT, "conditions": [{**HATCH_OPEN, "operator": "LT"}]}, "conditions[0].value"),
        ({**HOT, "conditions": [{**HATCH_OPEN, "age": 3}]}, "conditions[0].age"),
        ({**WINDOW, "aggregate": "median"}, "aggregate"),
        ({**WINDOW, "window_seconds": None}, "window_seconds"),
        ({**WINDOW, "window_seconds": 86_401}, "window_seconds"),
        ({**WINDOW, "value": "8"}, "value"),
        ({**WINDOW, "operator": "EQ", "value": True}, "value"),
        ({**WINDOW, "clear_value": 9}, "clear_value"),
        ({**WINDOW, "for_seconds": 0}, "for_seconds"),
        ({**WINDOW, "conditions": [HATCH_OPEN]}, "conditions"),
        ({**SILENT, "seconds": None}, "seconds"),
        ({**SILENT, "seconds": 2_592_001}, "seconds"),
        ({**SILENT, "metric": ""}, "metric"),
        ({**MODE, "metric": None}, "metric"),
        ({**MODE, "to": ["manual"]}, "to"),
        ({**MODE, "to": float("-inf")}, "to"),
        ({**MODE, "operator": "GT"}, "operator"),
        ({**HOT, "scope": []}, "scope"),
        ({**HOT, "scope": {"sites": ["a"]}}, "scope.sites"),
        ({**HOT, "scope": {"site_ids": "a"}}, "scope.site_ids"),
        ({**HOT, "scope": {"site_ids": ["../x"]}}, "scope.site_ids"),
        ({**HOT, "scope": {"device_ids": [7]}}, "scope.device_ids"),
        ({**HOT, "scope": {"device_prefixes": [""]}}, "scope.device_prefixes"),
        ({**HOT, "scope": {"tags": ["a\nb"]}}, "scope.tags"),
        ({**HOT, "scope": {"tags": [""]}}, "scope.tags"),
        ({**HOT, "scope": {"device_ids": [f"d{n}" for n in range(1001)]}}, "scope.device_ids"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        draft_of(given)
    assert refused.value.field == field
    assert field in str(refused.value)


def test_the_limit_itself_may_be_where_it_clears() -> None:
    assert draft_of({**HOT, "clear_value": 8}).parameters != draft_of(HOT).parameters


def test_a_number_too_large_for_whole_numbers_is_read_back_as_it_was() -> None:
    draft = draft_of({**HOT, "value": 1e20})
    assert draft_of({**HOT, "value": 10**20}) == draft


def test_only_the_built_in_rule_goes_without_seconds_and_it_is_about_all_readings() -> None:
    bare = {name: value for name, value in SILENT.items() if name != "seconds"}
    assert draft_of(bare, built_in="NO_HEARTBEAT").parameters == NoDataParameters()
    with pytest.raises(Invalid) as refused:
        draft_of({**bare, "metric": "t"}, built_in="NO_HEARTBEAT")
    assert refused.value.field == "metric"


def test_a_change_keeps_what_it_does_not_name_and_null_removes() -> None:
    before = {**HOT, "clear_value": 5, "for_seconds": 60}
    assert changed(before, {"value": 9, "clear_value": None}) == {**HOT, "value": 9, "for_seconds": 60}


def test_another_kind_starts_without_the_parameters_of_the_former() -> None:
    after = changed({**HOT, "scope": {"tags": ["a"]}}, {"kind": "no_data", "seconds": 60})
    assert after == {**SILENT, "name": "Hot", "severity": "high", "scope": {"tags": ["a"]}}
    assert changed(HOT, {"kind": "threshold"}) == HOT
