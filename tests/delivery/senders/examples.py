"""The integrations of docs/deliveries.md, one of each type at least: what the tests of every type start from."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.delivery.senders.sender import Sender, Target
from appliance.delivery.senders.table import SENDERS
from tests.support.project import ROOT

TEXT = (ROOT / "docs" / "deliveries.md").read_text()
BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]


@dataclass(frozen=True)
class Example:
    """An integration as it is created."""

    type: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    """Those that the appliance makes included."""

    @property
    def sender(self) -> Sender:
        """Its type."""
        return SENDERS[self.type]

    def at(self, url: str) -> "Example":
        """Return the same at another address."""
        secret = any(field.name == "url" and field.secret for field in self.sender.fields)
        config, secrets = dict(self.config), dict(self.secrets)
        (secrets if secret else config)["url"] = url
        return Example(self.type, config, secrets)

    def target(self) -> Target:
        """Return it as a courier opens it. Raises Invalid."""
        return Target("acme", self.sender.validate(self.config, self.secrets), self.secrets)


def _example(block: Mapping[str, Any]) -> Example:
    made = {field.name: field.generate() for field in SENDERS[block["type"]].fields if field.generate is not None}
    return Example(block["type"], block.get("config", {}), made | block.get("secrets", {}))


EXAMPLES = [_example(block) for block in BLOCKS if block.keys() >= {"name", "type"}]
HTTP = [one for one in EXAMPLES if any(field.name == "url" for field in one.sender.fields)]
"""Those that are dialled by an address that people enter."""
