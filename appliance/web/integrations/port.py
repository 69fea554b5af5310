"""What integrations need from the rest of the process."""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.sender import Sender
from appliance.keyring import Keyring


@dataclass(frozen=True, slots=True)
class IntegrationsPort:
    """The services that integrations use beside the platform."""

    keyring: Keyring
    """Seals their secrets."""
    network: Network
    """Judges where they lead, and sends samples."""
    senders: Mapping[str, Sender]
    """The types."""
