"""``pagerduty``: events of PagerDuty's Events API v2, one incident an alert.

An alert opens (trigger), is acknowledged (acknowledge) and ends (resolve) under one ``dedup_key``, so that a repeat
changes nothing. A reminder is a trigger as well. Alerts are never told together.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from appliance.delivery.notices.body import moment
from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import ACKNOWLEDGE, LINK, cut, text_of
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.fields import CA, checked
from appliance.delivery.senders.http_outcome import Receiver, send_json
from appliance.delivery.senders.sender import Field, Outcome, Target, Verdict
from appliance.errors import Invalid
from appliance.severity import Severity

DEFAULT_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_KEY = 255
MAX_SUMMARY = 1024
MAX_SOURCE = 255
VALUE_CHARACTERS = 1000
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")
_ACTIONS = {
    JobEvent.OPEN: "trigger",
    JobEvent.REMINDER: "trigger",
    JobEvent.ACKNOWLEDGED: "acknowledge",
    JobEvent.CLOSED: "resolve",
}
SEVERITIES: Mapping[Severity, str] = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "warning",
    Severity.INFO: "info",
}
"""PagerDuty has four."""


@dataclass(frozen=True, slots=True)
class PagerDutySender:
    """The type ``pagerduty``."""

    type: str = "pagerduty"
    label: str = "PagerDuty"
    icon: str = "i-shield-alert"
    may_merge: bool = False
    fields: Sequence[Field] = (
        Field(
            "routing_key",
            "Integration key",
            "text",
            required=True,
            secret=True,
            hint="Of a service with the integration Events API v2: 32 characters. Never shown again.",
        ),
        Field(
            "url",
            "Address",
            "url",
            default=DEFAULT_URL,
            hint="Change it only for the European service region, https://events.eu.pagerduty.com/v2/enqueue.",
        ),
        CA,
    )

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        found["url"] = parse(found.get("url", DEFAULT_URL), "url").text
        if not _ROUTING_KEY.fullmatch(secrets["routing_key"].strip()):
            raise Invalid("The integration key must be 32 letters and digits.", "routing_key")
        return found

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return where the address leads."""
        return [parse(config["url"], "url").destination]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send the notice once. The incident of a sample is resolved at once."""
        outcome = await _send(target, notice, network)
        if notice.test and notice.event is JobEvent.OPEN and outcome.verdict is Verdict.DELIVERED:
            await _send(target, replace(notice, event=JobEvent.CLOSED), network)
        return outcome


async def _send(target: Target, notice: Notice, network: Network) -> Outcome:
    routing_key = target.secrets["routing_key"].strip()
    receiver = Receiver(target.config["url"], target.config.get("ca"))
    return await send_json(network, receiver, notice, event_of(notice, routing_key), secrets=[routing_key])


def dedup_key(notice: Notice) -> str:
    """Return the key of an alert's incident: one appliance, one tenant, one alert. A sample has one of its own."""
    alert = notice.alert
    key = f"{notice.appliance}:{alert.tenant_id}:{alert.alert_id}"
    if notice.test:
        key = f"{key}:test:{notice.message_id.hex}"
    return key if len(key) <= MAX_KEY else hashlib.sha256(key.encode()).hexdigest()


def event_of(notice: Notice, routing_key: str) -> dict[str, Any]:
    """Return a notice as an event."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _ACTIONS[notice.event],
        "dedup_key": dedup_key(notice),
    }
    if event["event_action"] != "trigger":
        return event
    alert, text = notice.alert, text_of(notice)
    links = [{"href": text.url, "text": LINK}]
    if text.acknowledge_url is not None:
        links.append({"href": text.acknowledge_url, "text": ACKNOWLEDGE})
    payload = {
        "summary": cut(text.title, MAX_SUMMARY),
        "source": cut(alert.device_id or alert.site_id or notice.appliance, MAX_SOURCE),
        "severity": SEVERITIES[alert.severity],
        "timestamp": moment(alert.started_at),
        "class": alert.alert_type,
        "custom_details": {label: cut(value, VALUE_CHARACTERS) for label, value in text.facts},
    }
    if alert.site_name or alert.site_id:
        payload["group"] = cut(alert.site_name or alert.site_id or "", MAX_SOURCE)
    if alert.metric_label:
        payload["component"] = cut(alert.metric_label, MAX_SOURCE)
    return {**event, "payload": payload, "links": links, "client": "Edge Appliance", "client_url": text.url}


SENDER = PagerDutySender()
