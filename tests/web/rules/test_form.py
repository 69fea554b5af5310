"""The form of a rule and the flat object that the API takes are the same rule."""

from typing import Any

import pytest

from appliance.alerts.kinds.kind import KindName
from appliance.alerts.rules.validation import draft_of, flat
from appliance.errors import Invalid
from appliance.web.page.forms import Fields
from appliance.web.rules import form
from appliance.web.rules.form import Given

TYPES = {"temperature": ["number"], "door": ["boolean"], "mode": ["string"]}
COMMON: dict[str, Any] = {"name": "Freezer", "description": "Call Ola.", "enabled": True, "severity": "high"}
RULES: list[dict[str, Any]] = [
    {"kind": "threshold", "metric": "temperature", "operator": "GT", "value": -15, "clear_value": -16.5,
     "for_seconds": 300, "for_count": 2, "clear_for_seconds": 90, "scope": {"tags": ["cold", "floor 2"]},
     "conditions": [{"metric": "door", "operator": "EQ", "value": False, "max_age_seconds": 3600}]},
    {"kind": "threshold", "metric": "mode", "operator": "NE", "value": "12", "scope": {"device_ids": ["d-1", "d-2"]}},
    {"kind": "window", "metric": "temperature", "aggregate": "avg", "window_seconds": 7200, "for_seconds": 300,
     "for_count": 2, "operator": "LTE",
     "value": 1e-3, "scope": {"site_ids": ["bergen"], "device_prefixes": ["BGO-"]}},
    {"kind": "no_data", "metric": "temperature", "seconds": 86_400, "scope": {}},
    {"kind": "no_data", "seconds": 61, "scope": {}},
    {"kind": "change", "metric": "door", "to": True, "scope": {}},
    {"kind": "change", "metric": "mode", "clear_for_seconds": 60, "scope": {}},
]  # fmt: skip


def sent(given: Given) -> Fields:
    """Return the fields that a browser sends for a form."""
    values: dict[str, Any] = {name: [text] for name, text in given.texts.items()}
    for index, row in enumerate(given.conditions):
        values |= {f"c{index}_{name}": [text] for name, text in row.items()}
    return Fields(values | {"site": given.sites})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['kind']}-{rule.get('metric')}")
def test_a_rule_that_is_shown_and_sent_back_is_the_same_rule(rule: dict[str, Any]) -> None:
    draft = draft_of(COMMON | rule)
    read, wrong = form.flat_of(form.typed(sent(form.shown(flat(draft), "v"))), TYPES)
    assert wrong == {}
    assert draft_of(read) == draft


def read(**texts: str) -> tuple[dict[str, Any], dict[str, Invalid]]:
    """Return what the form makes of a threshold's controls."""
    usual = {"kind": "threshold", "metric": "temperature", "operator": "GT", "value": "6"}
    return form.flat_of(Given(usual | texts), TYPES)


@pytest.mark.parametrize(
    ("text", "number"),
    [("6,5", 6.5), ("6.5", 6.5), ("-6", -6), ("\N{MINUS SIGN}15", -15), (" 7 ", 7), ("1e3", 1000.0), (".5", 0.5)],
)
def test_numbers_have_a_comma_or_a_point(text: str, number: float) -> None:
    assert read(value=text)[0]["value"] == number


@pytest.mark.parametrize("text", ["six", "1,000,5", "1_0", "nan", "inf", "--1", "9" * 41, "\u0661"])
def test_what_is_no_number_is_an_error_of_its_field(text: str) -> None:
    flat_rule, wrong = read(value=text)
    assert "value" not in flat_rule
    assert str(wrong["value"]) == "Enter a number, such as 6.5."


@pytest.mark.parametrize(
    ("text", "unit", "seconds"), [("10", "min", 600), ("1,5", "h", 5400), ("90", "s", 90), ("2", "d", 172_800)]
)
def test_durations_have_a_unit(text: str, unit: str, seconds: int) -> None:
    assert read(**{"for": text, "for_unit": unit})[0]["for_seconds"] == seconds


def test_a_duration_that_is_too_short_or_too_long_is_an_error_of_its_field() -> None:
    for text in ("0", "-5", "0,001", "9999999999"):
        assert set(read(**{"for": text, "for_unit": "s"})[1]) == {"for_seconds"}


def test_values_have_the_type_that_devices_send() -> None:
    for metric, text, value in (("mode", "true", "true"), ("mode", "5", "5"), ("door", "true", True), ("new", "5", 5)):
        assert read(metric=metric, operator="EQ", value=text)[0]["value"] == value


def test_devices_that_match_any_of_nothing_are_an_error_and_not_all_devices() -> None:
    assert set(read(which="some", tags=" , ")[1]) == {"scope"}
    assert read(which="all", tags="cold")[0]["scope"] == {}


@pytest.mark.parametrize(
    ("field", "control"),
    [
        ("for_seconds", "for"), ("conditions[1].max_age_seconds", "c1_age"), ("conditions[0].value", "c0_value"),
        ("scope.device_ids", "devices"), ("scope.site_ids", "sites"), ("metric", "metric"), (None, ""),
    ],
)  # fmt: skip
def test_an_error_of_a_field_is_one_of_the_control_it_was_typed_into(field: str | None, control: str) -> None:
    assert form.control_of(field) == control


def test_an_error_on_the_page_does_not_name_the_field_of_the_api() -> None:
    assert form.people_text(Invalid("`value`: write a number.", "value")) == "Write a number."


def test_what_no_kind_has_is_the_form_of_a_threshold() -> None:
    assert Given({"kind": "magic"}).kind is KindName.THRESHOLD
