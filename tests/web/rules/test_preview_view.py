"""The words of a preview: what it found, what it covered, and what stands in for a field in error."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from appliance.alerts.rules.findings import Preview, Stop
from appliance.devices.metrics.metric import Metric
from appliance.errors import Invalid
from appliance.web.rules import preview_view
from appliance.web.rules.preview_view import covered_text, match_text, previewed, title_of, usable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULE: dict[str, Any] = {
    "name": "Freezer", "severity": "high", "kind": "threshold", "metric": "t", "operator": "GT", "value": 5,
}  # fmt: skip
FOUND = Preview(
    first=NOW - timedelta(days=7),
    last=NOW,
    alerts=3,
    openings=(),
    by_device={"d-2": 3},
    covered=("d-1", "d-2", "d-3"),
    reporting=("d-1", "d-2"),
    checked=2,
    readings=118_204,
    seconds=0.42,
    stopped=None,
)
STOPPED = replace(FOUND, stopped=Stop.TIME, checked=1)


@pytest.mark.parametrize(
    ("alerts", "stopped", "title"),
    [(3, None, "3 alerts"), (1, None, "1 alert"), (0, None, "No alerts"), (2, Stop.TIME, "At least 2 alerts")],
)
def test_the_title_is_the_count(alerts: int, stopped: Stop | None, title: str) -> None:
    assert title_of(replace(FOUND, alerts=alerts, stopped=stopped)) == f"{title} in the last 7 days"


def test_it_says_what_it_covered_and_what_the_saved_rule_opened() -> None:
    rule = previewed(RULE, None)
    assert covered_text(FOUND, rule, None) == "Checked 118,204 readings from 2 devices over the full 7 days in 0.4 s."
    compared = covered_text(FOUND, rule, replace(FOUND, alerts=5))
    assert compared.startswith("The saved rule opened 5 in the same time. Checked")
    assert "Stopped after 2 s: checked 118,204 readings, all of 1 of 2 devices." in covered_text(STOPPED, rule, None)
    most = covered_text(replace(STOPPED, stopped=Stop.READINGS), rule, None)
    assert most.startswith("Stopped after 200,000 readings")


def test_it_says_how_many_devices_match_and_report_the_metric() -> None:
    metric = Metric("t", "Temperature")
    assert match_text(FOUND, metric) == "3 devices match now, 2 report temperature."
    assert match_text(replace(FOUND, covered=("d-1",), reporting=("d-1",)), metric) == (
        "1 device matches now, all report temperature."
    )
    assert match_text(replace(FOUND, reporting=()), Metric("t")) == "3 devices match now, none report t."
    assert match_text(replace(FOUND, covered=()), metric) == "No device matches now."


def test_the_last_valid_value_stands_in_for_a_field_in_error() -> None:
    valid = RULE | {"clear_value": 4}
    found = usable(RULE | {"clear_value": 9}, {}, valid, None)
    assert (found.flat["clear_value"], dict(found.repaired)) == (4, {"clear_value": 4})
    unread = usable(
        {name: RULE[name] for name in RULE if name != "value"}, {"value": Invalid("x", "value")}, valid, None
    )
    assert (unread.flat["value"], dict(unread.repaired)) == (5, {"value": 5})


def test_what_a_preview_does_not_need_is_not_in_error() -> None:
    found = usable({name: RULE[name] for name in RULE if name not in ("name", "severity")}, {}, None, None)
    assert dict(found.repaired) == {}


def test_without_a_valid_value_there_is_no_preview() -> None:
    with pytest.raises(Invalid, match="clear_value"):
        usable(RULE | {"clear_value": 9}, {}, None, None)


def test_another_kind_takes_nothing_of_the_last_valid_one_that_it_does_not_have() -> None:
    silent = {"name": "x", "severity": "low", "kind": "no_data"}
    with pytest.raises(Invalid, match="seconds"):
        usable(silent, {}, RULE, None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "magic"}', "\ud800", "[" * 10_000])
def test_a_hidden_field_that_is_no_rule_is_none(text: str) -> None:
    assert preview_view.last_valid(text, None) is None


def test_times_are_of_today_or_have_their_day() -> None:
    oslo, now = ZoneInfo("Europe/Oslo"), NOW.timestamp()
    assert preview_view.when(now - 60, now, oslo) == "Today 12:59"
    assert preview_view.when(now - 86_400, now, oslo) == "Sun 22 Nov 13:00"
