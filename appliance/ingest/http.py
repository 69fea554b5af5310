"""Messages received over HTTP: the same pipeline, the same checks, the same commit.

Enters: a body and its form. Leaves: the messages in it, each with its own bytes as sent; after the commit, a verdict
on each. Never: an answer before the commit, or an inflated, guessed or re-encoded body.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import msgspec
import trio

from appliance.clock import Clock
from appliance.devices.registry.cache import Registry
from appliance.ingest.batch import MICROSECONDS, Settlement, Submission, Verdict
from appliance.ingest.envelope import Decoder, Envelope
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import bucket_key
from appliance.ingest.pipeline import Pipeline
from appliance.reading import HOP_COUNT, Kind

MAX_MESSAGES = 1000

_elements = msgspec.json.Decoder(list[msgspec.Raw])


class Form(Enum):
    """The media type of a body."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Body:
    """The messages of a body. ``many``: an array or lines, answered with a list even for a single message."""

    payloads: Sequence[bytes]
    many: bool


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """One message in the form that admission takes."""

    topic: str
    payload: bytes
    user_properties: tuple[tuple[str, str], ...] = ()
    retain: ClassVar[bool] = False


def split(body: bytes, form: Form) -> Body:
    """Split a body. One that is no JSON array, or is empty, is left to the checks as a single message."""
    if form is Form.NDJSON:
        payloads = [line for line in body.split(b"\n") if line.strip()]
    elif body.lstrip()[:1] == b"[":
        try:
            payloads = [bytes(element) for element in _elements.decode(body)]
        except (msgspec.DecodeError, RecursionError):
            payloads = []
    else:
        payloads = []
    return Body(payloads, many=True) if payloads else Body([body], many=False)


class HttpSource:
    """The pipeline's source of HTTP messages."""

    def __init__(
        self, pipeline: Pipeline, registry: Registry, limiter: Limiter, clock: Clock, *, token_demanded: bool
    ) -> None:
        self._pipeline = pipeline
        self._registry = registry
        self._limiter = limiter
        self._clock = clock
        self._decode = Decoder().decode
        self.token_demanded = token_demanded

    async def authentic(self, tenant_id: str, device_id: str, secret: str) -> bool:
        """Return whether ``secret`` authenticates this device."""
        return await self._registry.authentic((tenant_id, device_id), secret)

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        """Return whether ``secret`` is the claim password of this tenant."""
        return await self._registry.authentic_claim(tenant_id, secret)

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        """Submit messages and wait for their commit; return their verdicts in order.

        ``hop_count``: what the request says of how often they were passed on.
        If this is cancelled before the pipeline has taken them, nothing was done; after that they are still committed.
        """
        if not payloads:
            return []
        settled = trio.Event()
        verdicts: list[Verdict] = []

        async def settle(settlement: Settlement) -> None:
            verdicts.extend(settlement.outcome.verdicts(settlement.first, settlement.last))
            settled.set()

        properties = () if hop_count is None else ((HOP_COUNT, hop_count),)
        messages = [HttpMessage(topic, payload, properties) for payload in payloads]
        await self._pipeline.submit(Submission(messages, self._clock.now(), settle))
        await settled.wait()
        return verdicts

    def retry_after(self, tenant_id: str, device_id: str, payloads: Sequence[bytes]) -> int:
        """Return the whole seconds until these messages of the device can pass the limiter.

        Of those that only the bucket pays for, as many as it holds: the rest needs further tries.
        """
        key, now = bucket_key(tenant_id, device_id), self._clock.monotonic()
        delayed = sum(self._delayed(key, payload) for payload in payloads)
        seconds = self._limiter.retry_after(key, now, len(payloads) - delayed, delayed)
        return max(1, math.ceil(seconds))

    def _delayed(self, key: str, payload: bytes) -> bool:
        """Return whether the message draws on the allowance now; it was perhaps refused before it was decoded."""
        envelope = self._decode(payload, Kind.TELEMETRY)
        if not isinstance(envelope, Envelope) or envelope.ts is None:
            return False
        return self._limiter.delayed(key, 1000 * (round(self._clock.now() * MICROSECONDS) - envelope.ts))
