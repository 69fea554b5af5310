"""A notice as a mail: safe headers, text and HTML that say the same, one thread an alert."""

import email
import re
from email.message import EmailMessage
from email.policy import SMTP, default
from typing import Any
from uuid import UUID

import pytest

from appliance.delivery.notices.mail import SUBJECT_CHARACTERS, mail
from appliance.delivery.outbox.job import JobEvent
from appliance.severity import Severity
from tests.support.notices import ACKNOWLEDGE_URL, alert_facts, notice

SENDER = "alerts@norrvik.example"
HOSTILE = "x\r\nBcc: evil@evil.example\r\n\r\n<script>alert(1)</script><!channel>\x1b[31m\u2028\u202e{{7*7}}${x}"


def _read(**changes: Any) -> EmailMessage:
    """Return the mail as a receiver reads it from the wire."""
    made = mail(notice(**changes), SENDER, ["ingrid@norrvik.example", "olof@norrvik.example"])
    return email.message_from_bytes(made.as_bytes(policy=SMTP), policy=default)


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_mail_says_severity_and_what_and_links_to_the_alert_in_text_and_html() -> None:
    message = _read()
    assert message["Subject"].startswith("Critical: Freezer too warm")
    assert message["From"] == "Edge Appliance <alerts@norrvik.example>"
    assert message["To"] == "ingrid@norrvik.example, olof@norrvik.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Importance"] == "high"
    assert message["Date"] == "Mon, 30 Nov 2026 14:05:00 +0000"
    assert not [name for name in message if name.lower().startswith("list-")]
    for part in (_part(message, "plain"), _part(message, "html")):
        for said in ("Freezer 3", "Hall 2", "°C", "http://appliance.lan:8080/alerts/4711", ACKNOWLEDGE_URL):
            assert said in part
    assert not re.search(r"<(img|script|style|link|iframe)|src=|url\(", _part(message, "html"))


def test_only_a_critical_alert_is_important() -> None:
    assert _read(alert=alert_facts(severity=Severity.HIGH))["Importance"] is None


def test_every_try_has_the_same_id_and_the_mails_of_an_alert_are_one_thread() -> None:
    opening = UUID("aaaaaaaa-0000-4000-8000-000000000001")
    opened = _read(message_id=opening)
    again = _read(message_id=opening, occurrence=1)
    closed = _read(event=JobEvent.CLOSED, opening_id=opening)
    alert = "<alert-4711.edge-7f3a@norrvik.example>"
    assert opened["Message-ID"] == again["Message-ID"] == f"<{opening}@norrvik.example>"
    assert (opened["In-Reply-To"], opened["References"]) == (alert, alert)
    assert closed["In-Reply-To"] == opened["Message-ID"]
    assert closed["References"] == f"{alert} {opened['Message-ID']}"
    assert closed["Message-ID"] != opened["Message-ID"]
    assert _read(event=JobEvent.CLOSED)["References"] == alert


def test_what_people_and_devices_wrote_is_no_header_and_no_html() -> None:
    hostile = alert_facts(summary=HOSTILE, device_name=HOSTILE, site_name=HOSTILE, rule_name=HOSTILE, place=HOSTILE)
    message = _read(alert=hostile, merged=[hostile], merged_count=1)
    assert message["Bcc"] is None
    assert set(message) == set(_read())
    assert message["Subject"].isprintable()
    html = _part(message, "html")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html + _part(message, "plain")
    assert "{{7*7}}${x}" in html


@pytest.mark.parametrize(
    "summary", ["w" * 5000, "ü" * 5000, "Ж " * 2500, "日本語" * 1000, "a" * 149 + "\U0001f525" * 9]
)
def test_a_long_subject_is_cut_at_a_character_and_survives_the_wire(summary: str) -> None:
    subject = _read(alert=alert_facts(summary=summary))["Subject"]
    assert len(subject) <= SUBJECT_CHARACTERS
    assert subject.startswith(f"Critical: {summary[:100].rstrip()}")
    for line in (
        mail(notice(alert=alert_facts(summary=summary)), SENDER, ["a@b.example"]).as_bytes(policy=SMTP).splitlines()
    ):
        assert len(line) <= 998


def test_several_alerts_are_listed_with_their_pages_and_counted() -> None:
    others = [alert_facts(alert_id=number, summary=f"Pump {number}") for number in range(5000, 5100)]
    message = _read(merged=others, merged_count=250)
    assert "251 alerts" in message["Subject"]
    html, text = _part(message, "html"), _part(message, "plain")
    assert html.count("<li>") == 101
    assert 'href="http://appliance.lan:8080/alerts/5099"' in html
    assert "Pump 5099" in text
    assert "and 150 more" in html
    assert "and 150 more" in text


def test_without_a_link_to_acknowledge_there_is_none() -> None:
    message = _read(acknowledge_url=None)
    assert "Acknowledge:" not in _part(message, "plain")
    assert ">Acknowledge<" not in _part(message, "html")
