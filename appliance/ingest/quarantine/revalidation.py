"""Repeats the checks of admission for held messages, from check 4 on.

Enters: rows of quarantine. Leaves: for each row a reading, or the refusal that still applies. Times are tested against
the original receive time, which is kept. Devices are resolved anew each time: a replay uses the registry, which may
register them, a preview uses one that only returns what the registry would do. Never: a charge to a rate limit.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar

import msgspec

from appliance.config import Ingest, Retention
from appliance.devices.live.state import DeviceState
from appliance.devices.registry.cache import AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.ingest.admission import Admission
from appliance.ingest.batch import Batch, Reading
from appliance.ingest.charging import Charging
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Refusal

Resolve = Callable[[Mapping[DeviceKey, str | None]], Awaitable[Mapping[DeviceKey, AdmissionStatus]]]
"""Devices, each with the site that a message names -> their admission statuses."""


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A held message. ``received_at`` is in microseconds since 1970 UTC."""

    event_id: int
    received_at: int
    topic: str
    payload: bytes
    reason: str
    detail: str
    retain: ClassVar[bool] = False
    """A topic that was cleared is never held."""
    user_properties: ClassVar[tuple[tuple[str, str], ...]] = ()
    """They are not kept."""


@dataclass(frozen=True, slots=True)
class RevalidatedMessage:
    """A held message and the present result of the checks."""

    message: HeldMessage
    verdict: Reading | Refusal


class _EmptyRegistry:
    """A registry without any device, so that each is resolved."""

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """Return None."""
        del key, now
        return None

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """Return None."""
        del tenant_id
        return None


def _nothing(_tenant_id: str, _device_id: str | None) -> None:
    """Return None; the limiter that this is for is never asked."""


def _original_receipt(_state: DeviceState, received_at: int) -> int:
    """Return the time of a message without one: when it was received, as its row says, whatever came since."""
    return received_at


def _no_doubt() -> None:
    """Return None: a held message is judged by its time of receipt, whatever the clock shows now."""


class Revalidation:
    """Checks held messages, a slice at a time."""

    def __init__(self, ingest: Ingest, retention: Retention, resolve: Resolve) -> None:
        unused_limiter = Limiter(
            rate=1,
            burst=1,
            tenant_rate=0,
            bucket_ttl=0,
            max_tracked_devices=1,
            overrides=_nothing,
            backlog=0,
            allowances=_nothing,
        )
        self._admission = Admission(
            ingest,
            KeptSince(retention.days),
            _EmptyRegistry(),
            Charging(unused_limiter),
            _no_doubt,
            self._digest,
            _original_receipt,
        )
        self._resolve = resolve
        self._event_id = 0

    async def judge(self, messages: Sequence[HeldMessage]) -> list[RevalidatedMessage]:
        """Return a verdict for each message, in order; a reading's ``index`` is its place in ``messages``.

        Raises psycopg.Error or OSError when the database cannot be reached.
        """
        batches = [self._admission.revalidate(message, message.received_at) for message in messages]
        wanted: dict[DeviceKey, str | None] = {}
        for batch in batches:
            for candidate in batch.waiting:
                key = candidate.route.key
                wanted[key] = wanted.get(key) or candidate.envelope.site
        statuses = await self._resolve(wanted) if wanted else {}
        judged: list[RevalidatedMessage] = []
        for place, (message, batch) in enumerate(zip(messages, batches, strict=True)):
            self._event_id = message.event_id
            self._admission.resume(batch, statuses, 0.0)
            judged.append(RevalidatedMessage(message, _verdict(batch, place)))
        return judged

    def _digest(self, size: int) -> bytes:
        """Return the digest of a message without a time of its own: derived from its row, so that it is stored once."""
        return blake2b(str(self._event_id).encode(), digest_size=size, person=b"replay").digest()


def _verdict(batch: Batch, place: int) -> Reading | Refusal:
    if batch.refused:
        [refused] = batch.refused
        return Refusal(refused.reason, refused.detail)
    [reading] = batch.readings
    return msgspec.structs.replace(reading, index=place)
