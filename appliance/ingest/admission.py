"""Admission: the checks, in their order, over a batch. Synchronous; no database, no waiting.

``admit`` takes checks 1 to 7 and, for devices in memory, the rest. Messages of other devices wait in
``batch.waiting``; once their devices are loaded, ``resume`` takes them on from where they stood.
"""

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b

import structlog

from appliance.config import Ingest, Retention
from appliance.devices.state import StateBook
from appliance.ingest.batch import MICROSECONDS, Batch, Candidate, Reading, Refused, Route
from appliance.ingest.envelope import Decoder, Envelope
from appliance.ingest.telemetry import prefix, row
from appliance.mqtt import topics
from appliance.reading import Inbound, Reason, Refusal

log = structlog.get_logger(__name__)

CLOCK_NEVER_SET = 1_577_836_800 * MICROSECONDS
"""2020-01-01: an older time comes from a clock that was never set."""
DAY = 86_400 * MICROSECONDS
MAX_ROUTES = 50_000
_SHOWN_TOPIC = 256
"""Bytes of a topic that quarantine and logs keep; the rest is replaced by a digest."""


class Admission:
    """Judges messages. One a pipeline: it remembers the routes of topics it has seen."""

    def __init__(
        self,
        ingest: Ingest,
        retention: Retention,
        states: StateBook,
        randbytes: Callable[[int], bytes] = random.randbytes,
    ) -> None:
        self._max_payload = ingest.max_payload_bytes
        self._max_skew = round(ingest.max_clock_skew * MICROSECONDS)
        self._retention = retention.days * DAY
        self._states = states
        self._randbytes = randbytes
        self._decoder = Decoder()
        self._routes: dict[str, Route] = {}

    def admit(self, messages: Sequence[Inbound], received_at: int) -> Batch:
        """Judge ``messages``, received at ``received_at`` (microseconds since 1970 UTC). Never raises for any input."""
        batch = Batch(messages, received_at)
        known = self._routes.get
        for index, message in enumerate(messages):
            topic = message.topic
            payload = message.payload
            try:
                route = known(topic) or self._route(topic)
                if isinstance(route, Refusal):
                    batch.refused.append(_refuse(index, route, topic, payload))
                    continue
                self._judge(batch, index, route, payload)
            except Exception as error:  # the boundary of the stream: a bug costs one message, never the batch
                log.exception("check failed", topic=shown(topic))
                fault = Refusal(Reason.INTERNAL_ERROR, f"{type(error).__name__} in a check; see the log")
                batch.refused.append(_refuse(index, fault, topic, payload))
        return batch

    def resume(self, batch: Batch) -> None:
        """Take on the messages that waited; their devices are in memory now."""
        waiting, batch.waiting = batch.waiting, []
        for candidate in waiting:
            self._accept(batch, candidate)

    def _route(self, topic: str) -> Route | Refusal:
        """Check 1, once a topic."""
        parsed = topics.parse(topic)
        if isinstance(parsed, Refusal):
            return parsed
        tenant_id, device_id, kind = parsed.tenant_id, parsed.device_id, parsed.kind
        route = Route(tenant_id, device_id, kind, (tenant_id, device_id), prefix(tenant_id, device_id, kind))
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _judge(self, batch: Batch, index: int, route: Route, payload: bytes) -> None:
        """Checks 2 to 7."""
        if len(payload) > self._max_payload:
            detail = f"{len(payload)} bytes; at most {self._max_payload} (ingest.max_payload_bytes)"
            batch.refused.append(_refuse_at(index, Refusal(Reason.PAYLOAD_TOO_LARGE, detail), route, payload))
            return
        envelope = self._decoder.decode(payload, route.kind)
        if isinstance(envelope, Refusal):
            batch.refused.append(_refuse_at(index, envelope, route, payload))
            return
        mismatch = _mismatch(envelope, route)
        if mismatch is not None:
            batch.refused.append(_refuse_at(index, mismatch, route, payload, envelope))
            return
        self._accept(batch, Candidate(index, route, envelope, payload))

    def _accept(self, batch: Batch, candidate: Candidate) -> None:
        """The checks that need the device, then the reading."""
        route, envelope = candidate.route, candidate.envelope
        state = self._states.get(route.key)
        if state is None:
            batch.waiting.append(candidate)
            return
        received_at = batch.received_at
        ts = envelope.ts
        carried = ts is not None and CLOCK_NEVER_SET <= ts <= received_at + self._max_skew
        if ts is None or not carried:
            when, digest = received_at, self._randbytes(8)
        else:
            if ts < received_at - self._retention:
                detail = f"older than the retention of {self._retention // DAY} days (retention.days)"
                refusal = Refusal(Reason.TIMESTAMP_TOO_OLD, detail)
                batch.refused.append(_refuse_at(candidate.index, refusal, route, candidate.payload, envelope))
                return
            when = ts
            # 64 bits of kind and payload (the kind rides in blake2b's personalisation) tell messages of one time apart.
            digest = blake2b(candidate.payload, digest_size=8, person=route.kind.value.encode()).digest()
        adjusted = ts is not None and not carried
        late = when < state.newest
        if not late:
            state.newest = when
        data = row(route.start, envelope, when, digest, received_at, adjusted=adjusted, late=late)
        batch.readings.append(
            Reading(
                candidate.index,
                route,
                state,
                when,
                digest,
                adjusted,
                late,
                envelope.metrics,
                envelope.nulls,
                candidate.payload,
                data,
            )
        )


def _mismatch(envelope: Envelope, route: Route) -> Refusal | None:
    """Check 7."""
    if envelope.tenant_id is not None and envelope.tenant_id != route.tenant_id:
        return Refusal(Reason.TENANT_MISMATCH, f"`tenant_id` names another tenant than the topic's {route.tenant_id}")
    if envelope.device_id is not None and envelope.device_id != route.device_id:
        return Refusal(Reason.DEVICE_MISMATCH, f"`device_id` names another device than the topic's {route.device_id}")
    return None


def _refuse(index: int, refusal: Refusal, topic: str, payload: bytes) -> Refused:
    return Refused(index, refusal.reason, refusal.detail, shown(topic), payload)


def _refuse_at(index: int, refusal: Refusal, route: Route, payload: bytes, envelope: Envelope | None = None) -> Refused:
    topic = f"tenant/{route.tenant_id}/device/{route.device_id}/{route.kind.value}"
    return Refused(
        index,
        refusal.reason,
        refusal.detail,
        topic,
        payload,
        route.tenant_id,
        route.device_id,
        route.kind.value,
        None if envelope is None else envelope.site_id,
        None if envelope is None else envelope.ts,
    )


def shown(topic: str) -> str:
    """A topic as logs and quarantine keep it: what is too long is cut and told apart by a digest."""
    data = topic.encode(errors="replace")
    if len(data) <= _SHOWN_TOPIC:
        return topic
    cut = data[: _SHOWN_TOPIC - 24].decode(errors="ignore")
    return f"{cut}...#{blake2b(data, digest_size=8).hexdigest()}"
