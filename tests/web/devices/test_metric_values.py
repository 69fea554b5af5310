"""Latest values as people read them."""

import pytest

from appliance.devices.metrics.metric import Metric
from appliance.web.devices.metric_values import all_shown, names, shown


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (-11.84, 1, "−11.8"),  # noqa: RUF001 - a true minus sign
        (-0.04, 1, "0.0"),
        (1234567.891, 2, "1,234,567.89"),
        (3, 2, "3.00"),
        (0.1 + 0.2, None, "0.30000000000000004"),
        (1e300, 3, "1e+300"),
        (True, 2, "true"),
        ("open", 2, "open"),
    ],
)
def test_a_value_has_the_decimals_of_its_metric(value: object, decimals: int | None, text: str) -> None:
    assert shown("x", value, {"x": Metric("x", decimals=decimals)}).text == text


@pytest.mark.parametrize(
    ("value", "unusual"), [(1.9, True), (2, False), (8, False), (8.1, True), (True, False), ("9", False)]
)
def test_what_lies_outside_of_what_is_usual_is_marked(value: object, unusual: bool) -> None:
    assert shown("x", value, {"x": Metric("x", usual_low=2, usual_high=8)}).unusual is unusual


def test_what_people_look_at_first_stands_first_and_texts_last() -> None:
    latest = {"firmware": "1.2", "uptime": 5, "battery": 3.6, "door": True, "temperature": 4}
    order = [value.metric.name for value in all_shown(latest, {})]
    assert order == ["temperature", "battery", "uptime", "door", "firmware"]


def test_a_metric_that_nobody_has_named_is_guessed() -> None:
    assert shown("humidity", 71.4, {}).metric.unit == "%"
    assert shown("humidity", 71.4, {}).text == "71"


def test_the_names_of_several_devices_are_each_told_once() -> None:
    assert names([{"a": 1, "b": 2}, {"b": 3}, {}]) == {"a", "b"}
