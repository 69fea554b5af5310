"""Rules in words."""

from typing import Any

import pytest

from appliance.alerts.kinds.kind import Parameters
from appliance.alerts.rules.rule import Scope
from appliance.alerts.rules.validation import draft_of
from appliance.devices.metrics.metric import Metric
from appliance.web.page.formats import MINUS
from appliance.web.rules import labels

METRICS = {"t1": Metric("t1", "Supply air", "°C", 1), "co2": Metric("co2", "CO₂", "ppm", 0)}
COMMON = {"name": "n", "severity": "low"}
LIMIT = {"kind": "threshold", "metric": "t1", "operator": "GT", "value": 8}
WINDOW = {**LIMIT, "kind": "window", "aggregate": "avg", "window_seconds": 300}
IS_OPEN = {"metric": "hatch_open", "operator": "EQ", "value": True, "max_age_seconds": 60}
MUCH = {"metric": "co2", "operator": "LTE", "value": 400.5, "max_age_seconds": 60}


@pytest.mark.parametrize(
    ("given", "opens", "closes"),
    [
        (LIMIT, "Supply air above 8.0 °C", ""),
        ({**LIMIT, "metric": "temperature"}, "Temperature above 8.0 °C", ""),
        ({**LIMIT, "value": -4.25, "operator": "LT"}, f"Supply air below {MINUS}4.25 °C", ""),
        ({**LIMIT, "for_seconds": 300, "for_count": 1}, "Supply air above 8.0 °C for 5 min", ""),
        ({**LIMIT, "for_count": 3}, "Supply air above 8.0 °C, 3 readings in a row", ""),
        (
            {**LIMIT, "conditions": [IS_OPEN, MUCH]},
            "Supply air above 8.0 °C, and hatch open is true, and CO₂ is at or below 400.5 ppm",
            "",
        ),
        ({**LIMIT, "clear_value": 7.5}, "Supply air above 8.0 °C", "clears at 7.5 °C"),
        ({**LIMIT, "clear_for_seconds": 90}, "Supply air above 8.0 °C", "clears after 1 min 30 s"),
        (
            {**LIMIT, "clear_value": 8, "clear_for_seconds": 60},
            "Supply air above 8.0 °C",
            "clears at 8.0 °C after 1 min",
        ),
        ({**LIMIT, "operator": "NE", "value": "auto"}, "Supply air is not auto", ""),
        ({**LIMIT, "operator": "GTE", "metric": "pump", "value": 1e20}, "Pump at or above 1e+20", ""),
        (WINDOW, "Average supply air over 5 min above 8.0 °C", ""),
        ({**WINDOW, "for_seconds": 60}, "Average supply air over 5 min above 8.0 °C for 1 min", ""),
        (
            {**WINDOW, "aggregate": "min", "metric": "co2", "clear_value": 7},
            "Lowest CO₂ over 5 min above 8 ppm",
            "clears at 7 ppm",
        ),
        ({"kind": "no_data", "seconds": 5400}, "No reading for 1 h 30 min", ""),
        ({"kind": "no_data", "seconds": 60, "metric": "temperature"}, "No temperature for 1 min", ""),
        ({"kind": "change", "metric": "mode"}, "Mode changes", ""),
        ({"kind": "change", "metric": "mode", "to": "manual"}, "Mode changes to manual", ""),
        (
            {"kind": "change", "metric": "open", "to": False, "clear_for_seconds": 5},
            "Open changes to false",
            "clears after 5 s",
        ),
    ],
)
def test_a_rule_in_words(given: dict[str, Any], opens: str, closes: str) -> None:
    parameters = draft_of({**COMMON, **given}).parameters
    assert (labels.limit(parameters, METRICS), labels.clears(parameters, METRICS)) == (opens, closes)


def test_the_built_in_rule_and_one_that_cannot_be_read_in_words() -> None:
    assert labels.limit(draft_of({**COMMON, "kind": "no_data"}, built_in="NO_HEARTBEAT").parameters) == (
        "Device turns offline"
    )
    assert labels.limit(Parameters()) == ""


def test_the_metrics_of_a_rule_are_those_that_its_words_need() -> None:
    assert labels.metrics_of(draft_of({**COMMON, **LIMIT, "conditions": [MUCH]}).parameters) == {"t1", "co2"}
    assert labels.metrics_of(draft_of({**COMMON, "kind": "no_data", "seconds": 5}).parameters) == set()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 s"), (60, "1 min"), (90, "1 min 30 s"), (86_400, "1 d"), (604_800, "7 d"), (90_061, "1 d 1 h 1 min 1 s")],
)
def test_a_duration_is_said_in_full(seconds: int, words: str) -> None:
    assert labels.duration(seconds) == words


def test_a_scope_in_words() -> None:
    assert labels.scope(Scope()) == "all devices"
    sites = {"bgo": "Bergen Quay"}
    assert labels.scope(Scope(site_ids=("bgo", "drm"), tags=("freezer",)), sites) == "Bergen Quay, drm, tag freezer"
    assert labels.scope(Scope(device_prefixes=("DRM-",), device_ids=tuple("abcd"))) == "DRM-…, 4 devices"
