"""Ready-made commands that send a reading of a device to the address that the browser used."""

from dataclasses import dataclass

from appliance.broker.accounts import device_user
from appliance.web.devices.port import ListenerAddress

HIDDEN = "..."
"""Replaces a secret that is not shown."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The commands that send a message."""

    mosquitto: str
    curl: str
    claim: str
    """Over MQTT as the tenant's claim user, for a device without a credential of its own."""
    needs_ca: bool
    """Whether one of them reads the appliance's CA from ``ca.crt``."""


def lines(
    listener: ListenerAddress,
    tenant_id: str,
    device_id: str,
    url: str,
    host: str,
    *,
    password: str = HIDDEN,
    token: str = HIDDEN,
) -> Lines:
    """Return the commands; ``url`` is the appliance's address (``own_url``), ``host`` the host and port of the page."""
    trust = listener.http_options if url.startswith("https:") else ""
    address = f"{url}/ingest/tenant/{tenant_id}/device/{device_id}/telemetry"
    return Lines(
        mosquitto=listener.command(host, device_user(tenant_id, device_id), password),
        claim=listener.command(host, device_user(tenant_id, device_id), password, user=tenant_id),
        needs_ca=listener.needs_ca,
        curl=(
            f"curl{trust} -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
            f"-d '{{\"temperature\": 21.5}}' {address}"
        ),
    )
