"""What a name most likely means, and what no metric can be."""

from typing import Any

import pytest

from appliance.devices.metrics.metric import Metric, described, fault_of, guess


@pytest.mark.parametrize(
    ("name", "label", "unit", "decimals"),
    [
        ("temperature", "Temperature", "°C", 1),
        ("temp_f", "Temperature", "°F", 1),
        ("supply_air_temp", "Supply air temperature", "°C", 1),
        ("supplyAirTemp", "Supply air temperature", "°C", 1),
        ("humidity", "Humidity", "%", 0),
        ("battery", "Battery", "V", 2),
        ("battery_level", "Battery", "%", 0),
        ("vbat_mv", "Battery", "mV", 0),
        ("PM2.5", "PM2.5", "µg/m³", 0),
        ("CO2", "CO₂", "ppm", 0),
        ("door", "Door", None, None),
        ("flow_l", "Flow", "l", 1),
        ("s", "S", None, None),
        ("_", None, None, None),
    ],
)
def test_common_names_are_guessed(name: str, label: str | None, unit: str | None, decimals: int | None) -> None:
    assert guess(name) == Metric(name, label, unit, decimals)


@pytest.mark.parametrize(("value", "unit"), [(3.6, "V"), (24, "V"), (87, "%"), (True, "V"), ("full", "V"), (None, "V")])
def test_a_battery_that_says_more_than_volts_can_be_says_percent(value: Any, unit: str) -> None:
    assert guess("battery", value).unit == unit


def test_what_people_say_goes_before_what_is_guessed() -> None:
    named = Metric("temperature", "Supply")
    assert described("temperature", {"temperature": named}) is named
    assert described("temperature", {}) == guess("temperature")


def test_a_metric_without_a_label_is_called_by_its_name() -> None:
    assert Metric("x1").title == "x1"
    assert Metric("x1", "Flow").title == "Flow"


def test_every_guess_is_a_metric_that_can_be_kept() -> None:
    for name in ("x" * 64, "a" * 32 + "_" + "b" * 31, "toString", "__proto__", "a.b-c", "Z9", "_0", "ABCdef12"):
        assert fault_of(guess(name)) is None


@pytest.mark.parametrize(
    ("metric", "field"),
    [
        (Metric("1st"), "name"),
        (Metric("temperature "), "name"),
        (Metric("t", ""), "label"),
        (Metric("t", "x" * 65), "label"),
        (Metric("t", "a\nb"), "label"),
        (Metric("t", unit="a" * 17), "unit"),
        (Metric("t", unit="\0"), "unit"),
        (Metric("t", decimals=-1), "decimals"),
        (Metric("t", decimals=10), "decimals"),
        (Metric("t", usual_low=float("nan")), "usual_low"),
        (Metric("t", usual_high=float("inf")), "usual_high"),
        (Metric("t", usual_low=5, usual_high=5), "usual_high"),
    ],
)
def test_what_cannot_be_names_its_field(metric: Metric, field: str) -> None:
    fault = fault_of(metric)
    assert fault is not None
    assert fault.field == field
