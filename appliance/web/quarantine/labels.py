"""Messages in Quarantine in words: their status, and what the broker refused before a message reached the appliance."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.broker.refusals import RefusalCause
from appliance.ingest.quarantine.store import MessageStatus, QuarantinedMessage
from appliance.reading import HELD_REASONS
from appliance.web.page.labels import ReasonLabel

STATUSES: Mapping[MessageStatus, str] = {
    MessageStatus.HELD: "Held",
    MessageStatus.REPLAYED: "Replayed",
    MessageStatus.DISMISSED: "Dismissed",
}
SAMPLE = "Sample"
"""Not decided, of a reason that holds none: one of a few that were kept, while the others were counted alone."""


def status_label(event: QuarantinedMessage) -> str:
    """Return the status of a message; it is held only if its reason holds messages for replay."""
    if event.status is MessageStatus.HELD and event.reason not in HELD_REASONS:
        return SAMPLE
    return STATUSES[event.status]


BROKER_REFUSALS: Mapping[RefusalCause, ReasonLabel] = MappingProxyType(
    {
        RefusalCause.SIGN_IN: ReasonLabel(
            "Sign-in failed", "Wrong user or password; a device's user is TENANT/device/DEVICE."
        ),
        RefusalCause.TOPIC: ReasonLabel("Topic not allowed", "Each device may publish below its own topic only."),
        RefusalCause.TOO_LARGE: ReasonLabel(
            "Message too large", "Larger than the broker accepts; send less in one message."
        ),
        RefusalCause.TOO_MANY_CONNECTIONS: ReasonLabel(
            "Too many connections", "The broker has reached its connection limit."
        ),
        RefusalCause.PROTOCOL: ReasonLabel("Not MQTT", "The connection did not speak MQTT: check port and TLS."),
        RefusalCause.CLIENT_ID: ReasonLabel(
            "Client id in use",
            "Two clients use one client id, so each connection ends the other: leave it empty, or use the user name.",
        ),
    }
)
