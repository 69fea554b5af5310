"""What HTTP ingest needs from the rest of the process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.db.change_context import ChangeContext
from appliance.devices.registry.claims import ClaimOutcome
from appliance.devices.registry.provisioning import ProvisioningRequest
from appliance.ingest.batch import Verdict


class MessageSource(Protocol):
    """Where messages that come in over HTTP go: :class:`appliance.ingest.http.HttpSource`."""

    @property
    def token_demanded(self) -> bool:
        """Whether a device must show its token."""
        ...

    async def authentic(self, tenant_id: str, device_id: str, secret: str) -> bool:
        """Return whether ``secret`` is a token of this device."""
        ...

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        """Return whether ``secret`` is the claim password of this tenant."""
        ...

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        """Bring messages in and wait for their commit; return their verdicts in order."""
        ...

    def retry_after(self, tenant_id: str, device_id: str, payloads: Sequence[bytes]) -> int:
        """Return the whole seconds until these messages of the device can pass the limiter."""
        ...


@dataclass(frozen=True, slots=True)
class IngestPort:
    """The message source and the claim function that the supervisor provides."""

    source: MessageSource
    claim: Callable[[ProvisioningRequest, ChangeContext], Awaitable[ClaimOutcome]]
    """Exchanges a claim password, already checked, for a device's own credential."""
