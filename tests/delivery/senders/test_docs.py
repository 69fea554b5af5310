"""The examples in docs/deliveries.md are what the types take."""

import json

import pytest
import trio
from jsonschema import Draft202012Validator

from appliance.delivery.notices.body import body
from appliance.delivery.outgoing.network import NotAllowed
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.mqtt_topic import PLACEHOLDERS
from appliance.delivery.senders.table import SENDERS
from tests.delivery.senders.examples import BLOCKS, EXAMPLES, TEXT, Example
from tests.delivery.senders.network import network
from tests.support.notices import notice
from tests.support.project import ROOT


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.type)
def test_an_example_is_valid(example: Example) -> None:
    assert example.config.items() <= example.target().config.items()


def test_every_type_has_an_example() -> None:
    assert {example.type for example in EXAMPLES} == SENDERS.keys()


def test_the_body_of_the_webhook_is_what_is_sent() -> None:
    (shown,) = [block for block in BLOCKS if "data" in block]
    Draft202012Validator(json.loads((ROOT / "docs" / "webhook.schema.json").read_text())).validate(shown)
    sent = json.loads(body(notice()))
    assert shown["data"].keys() == sent["data"].keys()
    for part in ("alert", "device", "rule"):
        assert shown["data"][part].keys() == sent["data"][part].keys()


def test_the_refusal_that_is_quoted_is_what_people_read() -> None:
    quoted = " ".join(line.removeprefix("> ") for line in TEXT.splitlines() if line.startswith("> ")).replace("\\", "")
    with pytest.raises(NotAllowed) as refused:
        trio.run(network(names={"hooks.lan": "10.20.0.31"}).check, parse("https://hooks.lan/", "url").destination)
    assert str(refused.value) == quoted


def test_every_placeholder_of_a_topic_is_named() -> None:
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in TEXT
