"""The examples in docs/deliveries.md are what the types take."""

import json
import re

import pytest

from appliance.delivery.senders.mqtt_topic import PLACEHOLDERS
from appliance.delivery.senders.table import SENDERS
from tests.support.project import ROOT

TEXT = (ROOT / "docs" / "deliveries.md").read_text()
EXAMPLES = [
    example
    for block in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    if "config" in (example := json.loads(block))
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_an_example_is_valid(example: dict[str, dict[str, str]]) -> None:
    config, secrets = example["config"], example.get("secrets", {})
    kept = SENDERS[str(example["type"])].validate(config, secrets)
    assert config.items() <= kept.items()


def test_every_placeholder_of_a_topic_is_named() -> None:
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in TEXT
