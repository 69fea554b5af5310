"""Held messages before the checks again, from check 4 on.

Enters: rows of quarantine. Leaves: for each, the reading it is now or the refusal it still meets. Charged to no bucket;
a time is tested against the original receive time, which stays. Who a device is, is asked anew each time: by a replay
of the registry, which may register it, by a forecast of one that only says what the registry would.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from appliance.config import Ingest, Retention
from appliance.devices.registry.cache import AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.ingest.admission import Admission
from appliance.ingest.batch import Batch, Reading
from appliance.ingest.limits.limiter import Limiter
from appliance.reading import Refusal

Resolve = Callable[[Mapping[DeviceKey, str | None]], Awaitable[Mapping[DeviceKey, AdmissionStatus]]]
"""Devices, each with the site that a message names -> how they stand."""


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A held row. ``received_at`` is in microseconds since 1970 UTC."""

    event_id: int
    received_at: int
    topic: str
    payload: bytes
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RevalidatedMessage:
    """A held message and what the checks say of it now."""

    message: HeldMessage
    verdict: Reading | Refusal


class _Nobody:
    """A registry that knows no device: each is asked for."""

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """Nothing."""
        del key, now
        return None

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """Nothing."""
        del tenant_id
        return None


class Revalidation:
    """Judges held messages, a slice at a time."""

    def __init__(self, ingest: Ingest, retention: Retention, resolve: Resolve) -> None:
        never_asked = Limiter(rate=1, burst=1)
        self._admission = Admission(ingest, retention, _Nobody(), never_asked, self._digest)
        self._resolve = resolve
        self._event_id = 0

    async def judge(self, messages: Sequence[HeldMessage]) -> list[RevalidatedMessage]:
        """A verdict for each, in order; a reading's ``index`` is its place here.

        Raises psycopg.Error or OSError when the database cannot be had.
        """
        batches = [self._admission.readmit(message, message.received_at) for message in messages]
        wanted: dict[DeviceKey, str | None] = {}
        for batch in batches:
            for candidate in batch.waiting:
                key = candidate.route.key
                wanted[key] = wanted.get(key) or candidate.envelope.site_id
        standings = await self._resolve(wanted) if wanted else {}
        judged: list[RevalidatedMessage] = []
        for place, (message, batch) in enumerate(zip(messages, batches, strict=True)):
            self._event_id = message.event_id
            self._admission.resume(batch, standings)
            judged.append(RevalidatedMessage(message, _verdict(batch, place)))
        return judged

    def _digest(self, size: int) -> bytes:
        """In place of a random one, for a message without a time of its own: of the row, so that it is stored once."""
        return blake2b(str(self._event_id).encode(), digest_size=size, person=b"replay").digest()


def _verdict(batch: Batch, place: int) -> Reading | Refusal:
    if batch.refused:
        [refused] = batch.refused
        return Refusal(refused.reason, refused.detail)
    [reading] = batch.readings
    return msgspec.structs.replace(reading, index=place)
