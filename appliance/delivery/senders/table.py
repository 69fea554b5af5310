"""The types of integrations. A new one is a module beside this, and its entry here."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.delivery.senders import email, mqtt, ntfy, pagerduty, slack, teams, webhook
from appliance.delivery.senders.sender import Sender

_ALL: tuple[Sender, ...] = (
    webhook.SENDER,
    email.SENDER,
    mqtt.SENDER,
    slack.SENDER,
    teams.SENDER,
    pagerduty.SENDER,
    ntfy.SENDER,
)

SENDERS: Mapping[str, Sender] = MappingProxyType({sender.type: sender for sender in _ALL})
"""By type, in the order in which pages offer them."""
