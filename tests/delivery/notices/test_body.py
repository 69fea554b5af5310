"""The body of a webhook is what docs/webhook.schema.json says, for every event and every alert."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, ValidationError

from appliance.delivery.notices.body import body
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.job import JobEvent
from tests.support.notices import MADE_AT, alert_facts, notice
from tests.support.project import ROOT

SCHEMA = json.loads((ROOT / "docs" / "webhook.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)

BARE = alert_facts(
    alert_id=12, alert_type="SYSTEM", device_id=None, device_name=None, place=None, site_id=None, site_name=None,
    rule_id=None, rule_name=None, metric_label=None, unit=None, decimals=None, details={}, zone="UTC",
)  # fmt: skip
ENDED = alert_facts(
    status="CLOSED",
    acknowledged_at=MADE_AT - timedelta(minutes=2),
    acknowledged_by="ada@acme.example",
    closed_at=MADE_AT,
    close_reason="cleared",
    past=True,
)
NOTICES = {
    "alert.opened": notice(),
    "alert.acknowledged": notice(JobEvent.ACKNOWLEDGED, alert_facts(status="ACKNOWLEDGED")),
    "alert.closed": notice(JobEvent.CLOSED, ENDED),
    "alert.reminder": notice(JobEvent.REMINDER, occurrence=3),
    "alerts.summary": notice(merged=[BARE, ENDED], merged_count=120),
}


def _read(one: Notice) -> Any:
    return json.loads(body(one))


@pytest.mark.parametrize("kind", NOTICES)
def test_every_event_has_its_type_and_fits_the_schema(kind: str) -> None:
    found = _read(NOTICES[kind])
    VALIDATOR.validate(found)
    assert found["type"] == kind


@pytest.mark.parametrize("one", [notice(alert=BARE), notice(alert=ENDED), notice(test=True, acknowledge_url=None)])
def test_every_alert_fits_the_schema(one: Notice) -> None:
    VALIDATOR.validate(_read(one))


def test_the_schema_holds_every_field_that_is_sent() -> None:
    def described(schema: Any, value: Any, path: str) -> None:
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        if isinstance(value, list):
            for one in value:
                described(schema["items"], one, f"{path}[]")
        if isinstance(value, dict) and not path.endswith(".details"):
            assert value.keys() <= schema["properties"].keys(), path
            for name, one in value.items():
                described(schema["properties"][name], one, f"{path}.{name}")

    for one in (*NOTICES.values(), notice(test=True)):
        described(SCHEMA, _read(one), "")


def test_the_schema_refuses_what_scripts_could_not_read() -> None:
    for path, value in (
        (("type",), "alert.exploded"),
        (("timestamp",), "yesterday"),
        (("data", "alert", "severity"), "urgent"),
        (("data", "alert", "alert_id"), "4711"),
        (("data", "device", "site"), "hall-2"),
    ):
        found = _read(notice())
        place = found
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(ValidationError):
            VALIDATOR.validate(found)


def test_an_alert_has_the_names_of_the_json_api() -> None:
    alert = _read(notice())["data"]["alert"]
    assert alert["alert_id"] == 4711
    assert "id" not in alert
    assert alert["created_at"] == "2026-11-30T14:00:00Z"
    assert alert["details"]["value"] == -9.25


def test_a_summary_names_the_page_of_each_alert() -> None:
    data = _read(NOTICES["alerts.summary"])["data"]
    assert (data["url"], data["event"]) == ("http://appliance.lan:8080/alerts/4711", "alert.opened")
    assert [one["url"] for one in data["merged"]] == [
        "http://appliance.lan:8080/alerts/12",
        "http://appliance.lan:8080/alerts/4711",
    ]
    assert data["merged_count"] == 120


def test_the_id_is_that_of_the_job_on_every_try() -> None:
    message_id = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
    for made_at in (MADE_AT, MADE_AT + timedelta(hours=5)):
        assert _read(notice(message_id=message_id, made_at=made_at))["data"]["message_id"] == str(message_id)


def test_a_metric_that_nobody_has_described_is_called_by_its_id() -> None:
    found = _read(notice(alert=alert_facts(metric_label=None, details={"metric": "temp_3", "value": 9})))
    assert found["data"]["rule"]["metric"] == "temp_3"
