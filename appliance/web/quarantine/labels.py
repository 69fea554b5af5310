"""Titles and advice for what the broker refuses before a message reaches the appliance."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.broker.refusals import RefusalCause
from appliance.web.page.labels import ReasonLabel

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
