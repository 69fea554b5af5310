"""A notice says severity, what, where, value with unit and limit, since when in the zone of the site, what was done."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import cut, cut_bytes, local, plain, text_of
from appliance.delivery.outbox.job import JobEvent
from appliance.severity import Severity
from tests.support.notices import ACKNOWLEDGE_URL, MADE_AT, alert_facts, notice

ACKNOWLEDGED = alert_facts(
    status="ACKNOWLEDGED", acknowledged_at=MADE_AT - timedelta(minutes=2), acknowledged_by="ada@acme.example"
)


def _facts(one: Notice) -> dict[str, str]:
    return dict(text_of(one).facts)


def _of(**changes: Any) -> dict[str, str]:
    return _facts(notice(alert=alert_facts(**changes)))


def test_a_notice_says_everything_that_it_must() -> None:
    text = text_of(notice())
    assert text.title == "Critical: Freezer too warm \u2013 Freezer 3"
    assert list(text.facts) == [
        ("Severity", "Critical"),
        ("What", "Freezer too warm"),
        ("Device", "Freezer 3 (frz-3), Cold room"),
        ("Site", "Hall 2"),
        ("Temperature", "\u22129.2 °C (limit: above \u221218.0 °C)"),
        ("Since", "30 Nov 2026, 14:59 CET"),
        ("Status", "Open, not acknowledged"),
    ]
    assert text.url == "http://appliance.lan:8080/alerts/4711"
    assert text.acknowledge_url == ACKNOWLEDGE_URL


@pytest.mark.parametrize(
    ("event", "alert", "title", "status"),
    [
        (
            JobEvent.ACKNOWLEDGED, ACKNOWLEDGED, "Acknowledged: Freezer too warm \u2013 Freezer 3",
            "Acknowledged by ada@acme.example, 30 Nov 2026, 15:03 CET",
        ),
        (
            JobEvent.CLOSED, alert_facts(closed_at=MADE_AT, close_reason="cleared"),
            "Closed: Freezer too warm \u2013 Freezer 3", "Closed, 30 Nov 2026, 15:05 CET: the condition ended",
        ),
        (
            JobEvent.CLOSED, alert_facts(closed_at=MADE_AT, close_reason="closed", closed_by="ada@acme.example"),
            "Closed: Freezer too warm \u2013 Freezer 3", "Closed by ada@acme.example, 30 Nov 2026, 15:05 CET",
        ),
        (
            JobEvent.CLOSED, alert_facts(closed_at=MADE_AT, close_reason="cleared", past=True),
            "Closed: Freezer too warm \u2013 Freezer 3",
            "Closed, 30 Nov 2026, 15:05 CET: the condition ended. It ended before it could be delivered",
        ),
        (
            JobEvent.REMINDER, alert_facts(), "Still open (Critical): Freezer too warm \u2013 Freezer 3",
            "Open, not acknowledged",
        ),
    ],
)  # fmt: skip
def test_each_event_says_what_was_done(event: JobEvent, alert: Any, title: str, status: str) -> None:
    one = notice(event, alert, occurrence=4)
    assert (text_of(one).title, _facts(one)["Status"]) == (title, status)
    assert _facts(one).get("Reminder") == ("4" if event is JobEvent.REMINDER else None)


def test_only_what_is_open_can_be_acknowledged() -> None:
    for event in JobEvent:
        given = text_of(notice(event)).acknowledge_url
        assert (given is not None) is (event in {JobEvent.OPEN, JobEvent.REMINDER})


def test_a_sample_says_that_nothing_is_wrong() -> None:
    text = text_of(notice(test=True))
    assert text.title.startswith("Test: ")
    assert text.facts[0] == ("Test", "A sample that a person sent. Nothing is wrong.")


@pytest.mark.parametrize(
    ("changes", "label", "shown"),
    [
        ({"details": {"metric": "temp", "operator": "LT", "threshold": 2, "value": 1.5}}, "Temperature",
         "1.5 °C (limit: below 2.0 °C)"),
        ({"details": {"metric": "temp", "operator": "GT", "threshold": 8, "value": 9.123456}, "decimals": None,
          "unit": None}, "Temperature", "9.123456 (limit: above 8)"),
        ({"details": {"metric": "temp", "operator": "GT", "threshold": 0.0, "value": -0.001}}, "Temperature",
         "0.0 °C (limit: above 0.0 °C)"),
        ({"details": {"metric": "door", "operator": "EQ", "threshold": True, "value": True}, "metric_label": None,
          "unit": None}, "door", "true (limit: true)"),
        ({"details": {"metric": "mode", "operator": "NE", "threshold": "auto", "value": "x" * 500}, "unit": None},
         "Temperature", f"{'x' * 199}… (limit: other than auto)"),
        ({"details": {"metric": "temp", "operator": "GT", "threshold": 8, "value": 9, "aggregate": "avg",
                      "window_seconds": 900}}, "Temperature", "9.0 °C, average of 15 min (limit: above 8.0 °C)"),
        ({"details": {"metric": "mode", "to": "fault", "value": "fault"}, "unit": None, "decimals": None},
         "Temperature", "fault"),
        ({"alert_type": "NO_HEARTBEAT", "details": {"value": 372, "threshold": 300}}, "Silent for",
         "6.2 min (limit 5 min)"),
        ({"alert_type": "NO_DATA", "details": {"metric": "temp", "value": 90_000}}, "Silent for", "1.04 d"),
    ],
)  # fmt: skip
def test_a_value_has_its_unit_its_decimals_and_its_limit(changes: dict[str, Any], label: str, shown: str) -> None:
    assert _of(**changes)[label] == shown


def test_an_alert_without_a_value_or_a_device_says_what_there_is() -> None:
    bare = alert_facts(
        alert_type="SYSTEM", summary="The disk is nearly full", details={"value": 3}, device_id=None, device_name=None,
        place=None, site_id=None, site_name=None, rule_id=None, rule_name=None, metric_label=None, unit=None,
        zone="UTC", severity=Severity.HIGH,
    )  # fmt: skip
    text = text_of(notice(alert=bare))
    assert text.title == "High: The disk is nearly full"
    assert [label for label, _ in text.facts] == ["Severity", "What", "Since", "Status"]


def test_a_rule_is_named_where_the_alert_is_not_called_after_it() -> None:
    assert _of(summary="No reading of temp for 5 min")["Rule"] == "Freezer too warm"
    assert "Rule" not in _of()


def test_several_alerts_are_counted_and_listed() -> None:
    others = [alert_facts(alert_id=n, device_name=f"Freezer {n}") for n in range(3)]
    text = text_of(notice(merged=others, merged_count=12))
    assert text.title == "13 alerts: Freezer too warm \u2013 Freezer 3 and 12 more"
    assert text.others[1] == (
        "Critical: Freezer too warm \u2013 Freezer 1, Hall 2",
        "http://appliance.lan:8080/alerts/1",
    )
    assert text.more == 9
    assert plain(text).splitlines()[-4:] == [
        "Critical: Freezer too warm \u2013 Freezer 0, Hall 2",
        "Critical: Freezer too warm \u2013 Freezer 1, Hall 2",
        "Critical: Freezer too warm \u2013 Freezer 2, Hall 2",
        "and 9 more",
    ]
    closed = text_of(notice(JobEvent.CLOSED, merged=others, merged_count=3))
    assert closed.title == "4 alerts closed: Freezer too warm \u2013 Freezer 3 and 3 more"


def test_no_text_holds_a_line_end_or_a_sign_that_turns_it_round() -> None:
    nasty = "a\r\nBcc: evil@x.example\t\0\x1b[31m\u202eb\u2028c"
    one = notice(alert=alert_facts(summary=nasty, device_name=nasty, site_name=nasty, place=nasty))
    text = text_of(one)
    for part in (text.title, *(value for _, value in text.facts)):
        assert part.isprintable()
    assert "a Bcc: evil@x.example" in text.title


def test_times_are_those_of_the_zone_and_of_utc_without_one() -> None:
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert local(at, "Europe/Berlin") == "2 Jul 2026, 00:30 CEST"
    assert local(at, "Asia/Kathmandu") == "2 Jul 2026, 04:15 +0545"
    assert local(at, "Mars/Olympus") == "1 Jul 2026, 22:30 UTC"


def test_texts_are_cut_at_a_character() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    for most in range(4, 40):
        short = cut_bytes("äöü€𝄞" * 9, most)
        assert len(short.encode()) <= most
        assert short.endswith("…")
    assert cut_bytes("äöü", 6) == "äöü"
