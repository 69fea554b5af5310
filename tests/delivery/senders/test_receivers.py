"""What is sent to Slack, Teams, PagerDuty and ntfy fits their schemas and limits, whatever an alert is called."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog
from jsonschema import Draft202012Validator

from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.senders import ntfy, pagerduty, slack, teams
from appliance.delivery.senders.sender import Outcome, Sender, Verdict
from appliance.delivery.senders.table import SENDERS
from appliance.errors import Invalid
from appliance.severity import Severity
from tests.delivery.senders.examples import HTTP, Example
from tests.delivery.senders.network import LOCAL
from tests.support.http_sink import HttpSink, answers, http_sink
from tests.support.notices import ACKNOWLEDGE_URL, MADE_AT, alert_facts, notice

SCHEMAS = Path(__file__).parent / "schemas"
KEY = "R0key0of0pagerduty00000000000000"
TOKEN = "markedTokenOfTheAddress"
PATH = f"/services/T0000/B0000/{TOKEN}"

NASTY = 'a & b <!channel> @here *bold* _it_ `code` [x](http://evil.example) {"q":1} "\' \\ é 𝄞\r\n\t\0'
LONG = "🧊" * 5000
MANY = [alert_facts(alert_id=n, summary=NASTY * 5, device_name=f"Freezer {n}") for n in range(100)]
ENDED = alert_facts(status="CLOSED", closed_at=MADE_AT, close_reason="cleared")
NOTICES: Mapping[str, Notice] = {
    "opened": notice(),
    "reminder": notice(JobEvent.REMINDER, occurrence=2),
    "acknowledged": notice(JobEvent.ACKNOWLEDGED, alert_facts(acknowledged_at=MADE_AT, acknowledged_by="@all")),
    "closed": notice(JobEvent.CLOSED, ENDED),
    "sample": notice(test=True),
    "nasty": notice(alert=alert_facts(summary=NASTY, device_name=NASTY, place=NASTY, site_name=NASTY)),
    "long": notice(alert=alert_facts(summary=LONG, device_name=LONG, place=LONG, site_name=LONG, rule_name=LONG * 2)),
    "bare": notice(
        alert=alert_facts(device_id=None, device_name=None, place=None, site_id=None, site_name=None, details={}),
        acknowledge_url=None,
    ),
    "many": notice(merged=MANY, merged_count=1234),
    "many long": notice(alert=alert_facts(summary=LONG), merged=[alert_facts(summary=LONG)] * 100, merged_count=100),
    "many closed": notice(JobEvent.CLOSED, ENDED, merged=MANY, merged_count=100),
}


EXAMPLE = {one.type: one for one in HTTP}
RECEIVERS = [one for one in HTTP if one.type != "webhook"]
"""What they take is somebody else's to say: each has its schema."""


def _secrets(example: Example) -> list[str]:
    """Return what must be nowhere: of a secret address the token in it."""
    return [TOKEN if name == "url" else value for name, value in example.secrets.items()]


async def _sent(example: Example, one: Notice) -> tuple[Outcome, HttpSink]:
    async with http_sink(answers(202)) as sink:
        return await example.sender.send(example.at(sink.url(PATH)).target(), one, LOCAL), sink


@pytest.mark.parametrize("kind", NOTICES)
@pytest.mark.parametrize("example", RECEIVERS, ids=lambda example: example.type)
async def test_every_notice_fits_the_schema_of_its_receiver(example: Example, kind: str) -> None:
    outcome, sink = await _sent(example, NOTICES[kind])
    assert outcome.verdict is Verdict.DELIVERED, outcome.error
    schema = json.loads((SCHEMAS / f"{example.type}.json").read_text())
    for received in sink.requests:
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(received.json)
        assert received.header("content-type") == "application/json"


@pytest.mark.parametrize("example", RECEIVERS, ids=lambda example: example.type)
async def test_secrets_are_nowhere_in_what_is_kept_of_a_try(example: Example) -> None:
    echo = " ".join([*_secrets(example), PATH, ACKNOWLEDGE_URL])
    async with http_sink(answers(400, body=echo.encode())) as sink:
        target = example.at(sink.url(PATH)).target()
        outcome = await example.sender.send(target, notice(), LOCAL)
    kept = f"{outcome!r} {outcome.answer.decode()} {target!r} {example.sender!r}"
    for secret in (*_secrets(example), "Zx81marked"):
        assert secret not in kept
    assert "••••••••" in outcome.request


@pytest.mark.parametrize("example", HTTP, ids=lambda example: example.type)
async def test_secrets_are_in_no_line_of_the_log_at_debug_level(example: Example, debug_log: io.StringIO) -> None:
    echo = "&".join([*_secrets(example), TOKEN, ACKNOWLEDGE_URL])
    async with http_sink(answers(302, f"Location: http://x/{echo}")) as sink:
        target = example.at(sink.url(PATH)).target()
        outcome = await example.sender.send(target, notice(), LOCAL)
        structlog.get_logger("test").error("tried", target=target, outcome=outcome, notice=notice())
    lines = debug_log.getvalue()
    assert '"event": "tried"' in lines
    for secret in (*_secrets(example), "Zx81marked"):
        assert secret not in lines


@pytest.mark.parametrize("sender", SENDERS.values(), ids=lambda sender: sender.type)
def test_a_type_says_what_its_form_needs(sender: Sender) -> None:
    names = [field.name for field in sender.fields]
    assert len(names) == len(set(names))
    assert SENDERS[sender.type] is sender
    for field in sender.fields:
        assert field.label
        assert field.kind in {"url", "text", "lines", "number", "choice", "switch", "pem"}
        assert field.secret or field.generate is None


@pytest.mark.parametrize(
    ("sender", "config", "secrets", "field"),
    [
        (slack.SENDER, {}, {}, "url"),
        (slack.SENDER, {"url": "https://hooks.example/x"}, {}, "url"),
        (slack.SENDER, {}, {"url": "ftp://hooks.example/x"}, "url"),
        (slack.SENDER, {"channel": "#x"}, {"url": "https://hooks.example/x"}, "channel"),
        (teams.SENDER, {}, {"url": "https://user@hooks.example/x"}, "url"),
        (teams.SENDER, {}, {}, "url"),
        (pagerduty.SENDER, {}, {}, "routing_key"),
        (pagerduty.SENDER, {}, {"routing_key": "short"}, "routing_key"),
        (pagerduty.SENDER, {"url": "javascript:x"}, {"routing_key": KEY}, "url"),
        (pagerduty.SENDER, {"routing_key": KEY}, {}, "routing_key"),
        (ntfy.SENDER, {}, {}, "topic"),
        (ntfy.SENDER, {"topic": "a/b"}, {}, "topic"),
        (ntfy.SENDER, {"topic": "x" * 65}, {}, "topic"),
        (ntfy.SENDER, {"topic": "x", "url": "https://ntfy.example/?a=b"}, {}, "url"),
        (ntfy.SENDER, {"topic": "x"}, {"token": "a\r\nb"}, "token"),
        (ntfy.SENDER, {"topic": "x"}, {"token": "ä"}, "token"),
    ],
)
def test_bad_input_names_its_field(
    sender: Sender, config: Mapping[str, Any], secrets: Mapping[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as error:
        sender.validate(config, secrets)
    assert error.value.field == field


def test_defaults_lead_to_the_public_services() -> None:
    assert pagerduty.SENDER.validate({}, {"routing_key": KEY}) == {"url": "https://events.pagerduty.com/v2/enqueue"}
    assert ntfy.SENDER.validate({"topic": "x"}, {}) == {"url": "https://ntfy.sh/", "topic": "x"}


# Slack


def _slack(one: Notice) -> Any:
    return json.loads(json.dumps(slack.message(one)))


def test_slack_shows_names_as_they_are_and_mentions_nobody() -> None:
    text = json.dumps(_slack(NOTICES["nasty"]), ensure_ascii=False)
    assert "<!channel>" not in text
    assert "a &amp; b &lt;!channel&gt; @\u200bhere" in text
    assert "@\u200ball" in json.dumps(_slack(NOTICES["acknowledged"]), ensure_ascii=False)
    assert slack.escape("ada@acme.example") == "ada@acme.example"
    assert _slack(NOTICES["nasty"])["mrkdwn"] is False
    assert _slack(NOTICES["nasty"])["attachments"][0]["mrkdwn_in"] == []


def test_slack_links_the_alert_the_acknowledgement_and_every_further_one() -> None:
    found = _slack(NOTICES["many"])
    assert [one["title_link"] for one in found["attachments"]] == [NOTICES["many"].url, ACKNOWLEDGE_URL]
    lines = found["attachments"][0]["text"].splitlines()
    assert lines[0].startswith("<http://appliance.lan:8080/alerts/0|Critical: a &amp; b")
    assert len(lines) == slack.OTHERS + 1
    assert lines[-1] == f"and {1234 - slack.OTHERS:,} more"


def test_slack_colours_the_end_as_an_end() -> None:
    colours = [_slack(NOTICES[kind])["attachments"][0]["color"] for kind in ("opened", "acknowledged", "closed")]
    assert colours[0] != colours[1] == colours[2]


# Teams


@pytest.mark.parametrize("kind", NOTICES)
def test_a_card_has_28_kilobytes_at_most(kind: str) -> None:
    assert len(teams.message(NOTICES[kind])) <= 28 * 1024


def test_a_card_leaves_out_further_alerts_from_the_end_and_counts_them() -> None:
    short = [alert_facts(alert_id=n) for n in range(10)]
    body = json.loads(teams.message(notice(merged=short, merged_count=10)))["attachments"][0]["content"]["body"]
    assert len([one for one in body if "Critical: Freezer" in one["inlines"][0]["text"]]) == 10
    body = json.loads(teams.message(notice(merged=MANY, merged_count=1234)))["attachments"][0]["content"]["body"]
    shown = len([one for one in body if "Critical: a & b" in one["inlines"][0]["text"]])
    assert 0 < shown < 100
    assert body[-1]["inlines"][0]["text"] == f"and {1234 - shown:,} more"


def test_a_card_shows_names_as_they_are() -> None:
    text = teams.message(NOTICES["nasty"]).decode()
    assert "*bold* _it_ `code` [x](http://evil.example)" in text
    assert "TextBlock" not in text.replace("RichTextBlock", "")


# PagerDuty


def _event(one: Notice) -> Any:
    return pagerduty.event_of(one, KEY)


def test_one_incident_an_alert() -> None:
    keys = {_event(notice(event, made_at=MADE_AT + timedelta(hours=1)))["dedup_key"] for event in JobEvent}
    assert keys == {"edge-7f3a:acme:4711"}
    others = [
        notice(appliance="edge-other"),
        notice(alert=alert_facts(tenant_id="other")),
        notice(alert=alert_facts(alert_id=4712)),
        notice(test=True),
        notice(test=True, message_id=UUID(int=1)),
    ]
    assert len({_event(one)["dedup_key"] for one in others} | keys) == 6
    assert [_event(notice(event))["event_action"] for event in JobEvent] == [
        "trigger", "trigger", "acknowledge", "resolve",
    ]  # fmt: skip


def test_keys_and_summaries_have_the_length_that_pagerduty_takes() -> None:
    long = [notice(alert=alert_facts(tenant_id="t" * 300, alert_id=n)) for n in (1, 2)]
    keys = {_event(one)["dedup_key"] for one in long}
    assert len(keys) == 2
    assert all(len(key) <= 255 for key in keys)
    assert len(_event(NOTICES["long"])["payload"]["summary"]) == 1024


def test_five_severities_become_four() -> None:
    found = [_event(notice(alert=alert_facts(severity=one)))["payload"]["severity"] for one in Severity]
    assert found == ["critical", "error", "warning", "warning", "info"]


def test_pagerduty_is_never_told_of_several_alerts() -> None:
    assert not pagerduty.SENDER.may_merge
    assert all(sender.may_merge for sender in SENDERS.values() if sender.type != "pagerduty")


async def test_the_incident_of_a_sample_is_resolved_at_once() -> None:
    outcome, sink = await _sent(EXAMPLE["pagerduty"], notice(test=True))
    assert [one.json["event_action"] for one in sink.requests] == ["trigger", "resolve"]
    assert len({one.json["dedup_key"] for one in sink.requests}) == 1
    assert '"event_action":"trigger"' in outcome.request


# ntfy


def test_priority_follows_the_severity_and_an_end_makes_no_sound() -> None:
    def priority(severity: Severity, event: JobEvent) -> int:
        return int(ntfy.message(notice(event, alert_facts(severity=severity)), "x")["priority"])

    assert [priority(one, JobEvent.OPEN) for one in Severity] == [5, 4, 3, 2, 1]
    assert [priority(one, JobEvent.CLOSED) for one in Severity] == [2, 2, 2, 2, 1]


async def test_ntfy_gets_token_link_and_button() -> None:
    example = EXAMPLE["ntfy"]
    _, sink = await _sent(example, notice())
    received = sink.requests[0]
    assert received.header("authorization") == f"Bearer {example.secrets['token']}"
    assert (received.json["topic"], received.json["click"]) == (example.config["topic"], notice().url)
    assert received.json["actions"] == [
        {"action": "view", "label": "Acknowledge", "url": ACKNOWLEDGE_URL, "clear": True}
    ]


@pytest.mark.parametrize("kind", ["long", "many"])
def test_a_message_of_ntfy_is_no_file(kind: str) -> None:
    found = ntfy.message(NOTICES[kind], "x")
    assert len(found["message"].encode()) <= 4096
    assert found["message"].endswith("…")


# Limits


@pytest.mark.parametrize("build", [slack.message, teams.message, _event, lambda one: ntfy.message(one, "x")])
def test_no_message_is_large(build: Callable[[Notice], Any]) -> None:
    for one in NOTICES.values():
        built = build(one)
        assert len(built if isinstance(built, bytes) else msgspec.json.encode(built)) < 100_000
