"""A webhook is a signed POST of the notice, to an address and with headers that were checked."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from appliance.delivery.notices.body import body
from appliance.delivery.senders.sender import Target, Verdict
from appliance.delivery.senders.webhook import MAX_HEADERS, SENDER, signing_secret
from appliance.errors import Invalid
from tests.delivery.senders.network import LOCAL
from tests.support.http_sink import HttpSink, Received, answers, http_sink
from tests.support.notices import alert_facts, notice

SECRETS = {"signing_secret": signing_secret()}
URL = "https://hooks.example/alerts"


def _target(sink: HttpSink, secrets: Mapping[str, str] | None = None, **config: Any) -> Target:
    whole = SECRETS | dict(secrets or {})
    return Target("acme", SENDER.validate({"url": sink.url("/in?a=b"), **config}, whole), whole)


async def _received(secrets: Mapping[str, str] | None = None, **config: Any) -> Received:
    async with http_sink(answers(200)) as sink:
        outcome = await SENDER.send(_target(sink, secrets, **config), notice(made_at=datetime.now(UTC)), LOCAL)
        assert outcome.verdict is Verdict.DELIVERED, outcome.error
        return sink.requests[0]


async def test_the_signature_verifies_and_covers_id_time_and_body() -> None:
    received = await _received()
    headers = dict(received.headers)
    assert headers["webhook-id"] == f"msg_{notice().message_id.hex}"
    assert Webhook(SECRETS["signing_secret"]).verify(received.body, headers)["type"] == "alert.opened"
    for changed in (
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRETS["signing_secret"]).verify(received.body, headers | changed)
    for secret, data in ((SECRETS["signing_secret"], received.body + b" "), (signing_secret(), received.body)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(data, headers)


async def test_a_notice_says_how_often_what_led_to_it_was_passed_on() -> None:
    assert (await _received()).header("hop-count") == "1"
    of_one, of_another = (alert_facts(details={"hop_count": hops}) for hops in (1, 2))
    assert notice(alert=of_one).hop_count == 2
    assert notice(alert=of_one, merged=(of_another,)).hop_count == 3


async def test_a_repeat_has_the_id_of_the_first_try() -> None:
    first, second = await _received(), await _received()
    assert first.header("webhook-id") == second.header("webhook-id")


async def test_the_request_is_the_body_of_the_notice_as_json() -> None:
    received = await _received()
    assert (received.method, received.target) == ("POST", "/in?a=b")
    assert received.header("content-type") == "application/json"
    assert received.json["data"]["alert"]["alert_id"] == 4711


async def test_headers_and_authorization_are_sent() -> None:
    received = await _received(
        {"authorization": " Bearer marked-token-in-header ", "secret_headers": "X-Api-Key: marked-api-key"},
        headers=["X-Environment: test", "X-Empty:"],
    )
    assert received.header("x-environment") == "test"
    assert received.header("x-empty") == ""
    assert received.header("x-api-key") == "marked-api-key"
    assert received.header("authorization") == "Bearer marked-token-in-header"


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Webhook-Signature", "Cookie"],
)
@pytest.mark.parametrize("field", ["headers", "secret_headers"])
def test_a_header_that_changes_how_the_request_is_read_is_refused(name: str, field: str) -> None:
    line = f"{name}: value"
    config, secrets = ({"headers": [line]}, {}) if field == "headers" else ({}, {"secret_headers": line})
    with pytest.raises(Invalid, match="cannot be set") as error:
        SENDER.validate({"url": URL, **config}, SECRETS | secrets)
    assert error.value.field == field


@pytest.mark.parametrize(
    "line",
    ["X-Bad\r\nHost: evil", "X Bad: x", "no colon", ": nothing", "X-Uml\u00e4ut: x", "X-Value: \u00e4", "X-\0: x"],
)
@pytest.mark.parametrize("field", ["headers", "secret_headers"])
def test_a_line_that_is_no_header_is_refused(line: str, field: str) -> None:
    config, secrets = ({"headers": [line]}, {}) if field == "headers" else ({}, {"secret_headers": line})
    with pytest.raises(Invalid) as error:
        SENDER.validate({"url": URL, **config}, SECRETS | secrets)
    assert error.value.field == field


def test_an_authorization_header_is_a_secret_and_on_one_line() -> None:
    for line in ("Authorization: Basic abc", "proxy-authorization: abc"):
        with pytest.raises(Invalid, match="is a secret") as error:
            SENDER.validate({"url": URL, "headers": [line]}, SECRETS)
        assert error.value.field == "headers"
    for value in ("Bearer a\r\nHost: evil", "Bearer \u00e4"):
        with pytest.raises(Invalid) as error:
            SENDER.validate({"url": URL}, SECRETS | {"authorization": value})
        assert error.value.field == "authorization"


def test_configuration_is_checked_field_by_field() -> None:
    for config, secrets, field in (
        ({}, {}, "url"),
        ({"url": ""}, {}, "url"),
        ({"url": 5}, {}, "url"),
        ({"url": URL, "uri": URL}, {}, "uri"),
        ({"url": URL}, {"password": "x"}, "password"),
        ({"url": URL, "authorization": "Bearer x"}, {}, "authorization"),
        ({}, {"url": URL}, "url"),
        ({"url": URL, "headers": {"X-A": "b"}}, {}, "headers"),
        ({"url": URL, "headers": [1]}, {}, "headers"),
        ({"url": URL, "headers": [f"X-{n}: y" for n in range(MAX_HEADERS + 1)]}, {}, "headers"),
        ({"url": URL, "ca": "hello"}, {}, "ca"),
        ({"url": URL, "ca": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"}, {}, "ca"),
        ({"url": URL, "ca": "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"}, {}, "ca"),
    ):
        with pytest.raises(Invalid) as error:
            SENDER.validate(config, SECRETS | dict(secrets))
        assert error.value.field == field, config


def test_the_canonical_form_is_stable_and_without_secrets() -> None:
    given = {
        "url": " HTTPS://Hooks.Example:443/a b".replace(" b", "?x=1"),
        "headers": "X-A:  1 \r\n\r\nX-B: 2",
        "ca": "",
    }
    found = SENDER.validate(given, SECRETS | {"authorization": "Bearer x"})
    assert found == {"url": "https://hooks.example/a?x=1", "headers": ["X-A: 1", "X-B: 2"]}
    assert SENDER.validate(found, SECRETS) == found
    assert [one.host for one in SENDER.destinations(found, SECRETS)] == ["hooks.example"]


@pytest.mark.parametrize(
    "secret", ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_***", f"whsec_{'A' * 88}", "c2VjcmV0" * 4]
)
def test_a_signing_secret_that_receivers_would_not_take_is_refused(secret: str) -> None:
    with pytest.raises(Invalid) as error:
        SENDER.validate({"url": URL}, {"signing_secret": secret})
    assert error.value.field == "signing_secret"


def test_a_signing_secret_can_be_brought_along() -> None:
    SENDER.validate({"url": URL}, {"signing_secret": " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw "})


def test_a_signing_secret_is_random_and_long() -> None:
    made = {signing_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith("whsec_") and len(secret) >= 6 + 32 for secret in made)


async def test_secrets_are_nowhere_in_what_is_kept_of_a_try() -> None:
    marked = {
        "signing_secret": SECRETS["signing_secret"],
        "authorization": 'Bearer marked-"token"-in-header',
        "secret_headers": "X-Api-Key: marked/api+key=",
    }
    one = notice()
    forms = [
        'marked-"token"-in-header',
        json.dumps('marked-"token"-in-header'),
        "marked/api+key=",
        "marked%2Fapi%2Bkey%3D",
        base64.b64encode(b"marked/api+key=").decode(),
        one.acknowledge_url or "",
    ]
    echoed = " ".join([*marked.values(), *forms])
    redirect = f"Location: https://x.example/{'y' * 170}?k=marked/api+key="
    async with http_sink(answers(302, redirect, body=echoed.encode())) as sink:
        target = _target(sink, marked)
        outcome = await SENDER.send(target, one, LOCAL)
        assert body(one) == sink.requests[0].body
    kept = f"{outcome!r} {outcome.answer.decode()} {target!r} {one!r}"
    for secret in (
        "token",
        "in-header",
        "marked/",
        "api+key",
        "api%2Bkey",
        SECRETS["signing_secret"],
        "Zx81marked",
        "bWFya2Vk",
    ):
        assert secret not in kept
    assert "Authorization: ••••••••" in outcome.request
    assert "webhook-signature: ••••••••" in outcome.request.splitlines()
    assert "X-Api-Key: ••••••••" in outcome.request
    assert '"acknowledge_url":"••••••••"' in outcome.request


async def test_a_signature_that_is_sent_back_is_masked_too() -> None:
    async with http_sink(answers(200)) as sink:
        await SENDER.send(_target(sink, SECRETS), notice(), LOCAL)
        signature = sink.requests[0].header("webhook-signature") or ""
    async with http_sink(answers(400, body=f"bad {signature}, {signature[3:]}".encode())) as sink:
        outcome = await SENDER.send(_target(sink, SECRETS), notice(), LOCAL)
        assert sink.requests[0].header("webhook-signature") == signature
    assert outcome.answer.decode() == "bad ••••••••, ••••••••"
