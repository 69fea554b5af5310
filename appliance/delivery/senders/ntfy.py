"""``ntfy``: push to phones by a server of one's own, or by the public one, which iPhones need behind a server as well.

A notice is published as JSON: its priority follows the severity, a press on it opens the alert.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import ACKNOWLEDGE, cut, cut_bytes, plain, text_of
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.fields import CA, checked
from appliance.delivery.senders.http_outcome import Receiver, send_json
from appliance.delivery.senders.sender import Field, Outcome, Target
from appliance.errors import Invalid
from appliance.severity import Severity

DEFAULT_URL = "https://ntfy.sh/"
TITLE_CHARACTERS = 250
MESSAGE_BYTES = 4000
"""A message of more than 4,096 becomes a file to be downloaded."""
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[!-~]{1,512}")
PRIORITIES: Mapping[Severity, int] = {
    Severity.CRITICAL: 5,
    Severity.HIGH: 4,
    Severity.MEDIUM: 3,
    Severity.LOW: 2,
    Severity.INFO: 1,
}
ENDED_PRIORITY = 2
"""No sound: nobody has to do anything."""
_TAGS = {
    Severity.CRITICAL: "rotating_light",
    Severity.HIGH: "warning",
    Severity.MEDIUM: "warning",
    Severity.LOW: "information_source",
    Severity.INFO: "information_source",
}
"""Names of emoji, which the app shows before the title."""


@dataclass(frozen=True, slots=True)
class NtfySender:
    """The type ``ntfy``."""

    type: str = "ntfy"
    label: str = "ntfy"
    icon: str = "i-smartphone"
    may_merge: bool = True
    fields: Sequence[Field] = (
        Field("url", "Server", "url", default=DEFAULT_URL, hint="The public server, or one of your own."),
        Field(
            "topic",
            "Topic",
            "text",
            required=True,
            hint="On the public server everybody who knows it can read: choose one that nobody guesses.",
            placeholder="plant-7-alerts-x2k9",
        ),
        Field("token", "Access token", "text", secret=True, hint="Never shown again.", placeholder="tk_..."),
        CA,
    )

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        url = parse(found.get("url", DEFAULT_URL), "url")
        if "?" in url.target:
            raise Invalid("The address of the server has no ? part; the topic has a field of its own.", "url")
        found["url"] = url.text
        if not _TOPIC.fullmatch(found["topic"]):
            raise Invalid("The topic must be 1 to 64 letters, digits, _ or -.", "topic")
        if secrets.get("token") and not _TOKEN.fullmatch(secrets["token"].strip()):
            raise Invalid("The access token may hold visible ASCII characters only.", "token")
        return found

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return where the server is."""
        return [parse(config["url"], "url").destination]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send the notice once."""
        token = target.secrets.get("token", "").strip()
        headers = [("Authorization", f"Bearer {token}")] if token else []
        receiver = Receiver(target.config["url"], target.config.get("ca"))
        payload = message(notice, target.config["topic"])
        return await send_json(network, receiver, notice, payload, headers=headers, secrets=[token])


def message(notice: Notice, topic: str) -> dict[str, Any]:
    """Return a notice as a message of ntfy."""
    text = text_of(notice)
    ended = notice.event in {JobEvent.ACKNOWLEDGED, JobEvent.CLOSED}
    severity = notice.alert.severity
    found: dict[str, Any] = {
        "topic": topic,
        "title": cut(text.title, TITLE_CHARACTERS),
        "message": cut_bytes(plain(text), MESSAGE_BYTES),
        "priority": min(ENDED_PRIORITY, PRIORITIES[severity]) if ended else PRIORITIES[severity],
        "tags": ["white_check_mark" if ended else _TAGS[severity]],
        "click": text.url,
    }
    if text.acknowledge_url is not None:
        found["actions"] = [{"action": "view", "label": ACKNOWLEDGE, "url": text.acknowledge_url, "clear": True}]
    return found


SENDER = NtfySender()
