"""Admission: the checks, in their order, over a batch. Synchronous; no database, no waiting.

``admit`` runs checks 1 to 7 and, for devices in memory, the rest. Messages of other devices wait in
``batch.waiting``; once the admission status of their devices is read, ``resume`` runs the remaining checks.

Check 3, the limiter, is asked before a message is decoded, and refuses at once where the allowance is empty, too.
Where it is not, or is not read yet, a message that found its bucket empty is decoded first: a delayed one, which
carries its own time, may draw on the allowance (``appliance.ingest.charging``).
"""

import random
from collections.abc import Callable, Container, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, cast

import msgspec
import structlog

from appliance.config import Ingest
from appliance.devices import topics
from appliance.devices.live.offline_statuses import says_offline
from appliance.devices.live.state import DeviceState
from appliance.devices.registry.cache import AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.devices.site_ids import mentioned_site
from appliance.ingest.batch import (
    MICROSECONDS,
    Batch,
    Candidate,
    Charge,
    ClearedTopic,
    Reading,
    RefusedSubmission,
    Route,
)
from appliance.ingest.charging import LEAST_AGE, RATE_LIMITED, SETTLED, Charging
from appliance.ingest.envelope import Decoder, Envelope
from appliance.ingest.hops import circling
from appliance.ingest.limits.terms import LimitScope, bucket_key
from appliance.ingest.telemetry.copy_row import prefix, row
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Inbound, Kind, Reason, Refusal

log = structlog.get_logger(__name__)

CLOCK_NEVER_SET = 1_577_836_800 * MICROSECONDS
"""2020-01-01: an older time comes from a clock that was never set."""
MAX_ROUTES = 50_000
_SHOWN_TOPIC = 256
"""Bytes of a topic that quarantine and logs keep; the rest is replaced by a digest."""


class Knows(Protocol):
    """What admission needs to know of devices and tenants: :class:`appliance.devices.registry.cache.Registry`."""

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """Return the admission status of a device, if it is in memory and still valid."""
        ...

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """Return what is remembered of a tenant."""
        ...


class Admission:
    """Runs the checks. Each pipeline has one, which remembers the routes of the topics it has seen.

    ``offset_in_doubt`` returns the seconds by which a wall clock in doubt is ahead of the receive times.
    """

    def __init__(
        self,
        ingest: Ingest,
        kept_since: KeptSince,
        registry: Knows,
        charging: Charging,
        offset_in_doubt: Callable[[], float | None],
        randbytes: Callable[[int], bytes] = random.randbytes,
        stamp: Callable[[DeviceState, int], int] = DeviceState.stamp,
    ) -> None:
        self._max_payload = ingest.max_payload_bytes
        self._max_skew = round(ingest.max_clock_skew * MICROSECONDS)
        self._token_demanded = ingest.require_payload_token
        self._retention = kept_since.longest
        self._kept_since = kept_since
        self._registry = registry
        self._status_of = registry.get
        self._charging = charging
        self._shift = charging.limiter.shift_taken
        self._offset_in_doubt = offset_in_doubt
        self._randbytes = randbytes
        self._stamp = stamp
        self._decode = Decoder().decode
        self._routes: dict[str, Route] = {}

    @property
    def routes(self) -> int:
        """Return the number of topics remembered, MAX_ROUTES at most."""
        return len(self._routes)

    def admit(
        self, messages: Sequence[Inbound], received_at: int, now: float, redelivered: Container[int] = ()
    ) -> Batch:
        """Check ``messages``, received at ``received_at`` (microseconds since 1970 UTC; ``now``: monotonic seconds).

        Those at the positions ``redelivered`` were charged when they came first. Never raises, whatever the input.
        """
        batch = Batch(messages, received_at)
        self.admit_slice(batch, 0, len(messages), now, redelivered)
        return batch

    def admit_slice(self, batch: Batch, start: int, stop: int, now: float, redelivered: Container[int] = ()) -> None:
        """Check the messages of ``batch`` from position ``start`` up to ``stop``; see :meth:`admit`."""
        known = self._routes.get
        take, may_draw = self._charging.limiter.take, self._charging.limiter.may_draw
        index = batch.first + start
        for position, message in enumerate(batch.messages[start:stop], start):
            topic, payload = message.topic, message.payload
            try:
                route = known(topic) or self._route(topic)
                if isinstance(route, Refusal):
                    batch.refused.append(_refusal_of(index, route, topic, payload))
                elif not payload and message.retain:
                    batch.cleared.append(ClearedTopic(index, self._owner(batch, route)))
                elif len(payload) > self._max_payload:
                    self._too_large(batch, index, route, payload)
                elif (properties := message.user_properties) and (circle := circling(properties)):
                    self._refuse_message(batch, index, circle, route, payload)
                elif position in redelivered:
                    self._read(batch, index, route, payload, None, None)
                elif (empty := take(route.bucket, now)) is None or may_draw(route.bucket):
                    self._read(batch, index, route, payload, now, empty)
                else:
                    self._refuse_message(batch, index, RATE_LIMITED[empty], route, payload)
            except Exception as error:  # noqa: BLE001 - the boundary of the stream: a bug costs one message, not the batch
                batch.refused.append(_internal_error(index, error, topic, payload))
            index += 1

    def revalidate(self, message: Inbound, received_at: int) -> Batch:
        """Check a held message again: from check 4 on, charged to no bucket, by its original time of receipt."""
        batch = Batch((message,), received_at)
        try:
            route = self._route(message.topic)
            if isinstance(route, Refusal):
                batch.refused.append(_refusal_of(0, route, message.topic, message.payload))
            else:
                self._read(batch, 0, route, message.payload, None, None)
        except Exception as error:  # noqa: BLE001 - the same boundary: what a bug held may meet the same bug again
            batch.refused.append(_internal_error(0, error, message.topic, message.payload))
        return batch

    def resume(self, batch: Batch, statuses: Mapping[DeviceKey, AdmissionStatus], now: float) -> None:
        """Run the remaining checks of the messages that waited, by the statuses that were read for them.

        ``now``: monotonic seconds.
        """
        waiting, batch.waiting = batch.waiting, []
        for candidate in waiting:
            index, route, envelope, payload = candidate.index, candidate.route, candidate.envelope, candidate.payload
            try:
                status = statuses[route.key]
                empty = self._charging.settle(candidate, status, now)
                if empty is None:
                    self._accept(batch, index, route, envelope, payload, status)
                else:
                    self._refuse_message(batch, index, RATE_LIMITED[empty], route, payload, envelope)
            except Exception as error:  # noqa: BLE001 - the same boundary
                topic = batch.messages[index - batch.first].topic
                batch.refused.append(_internal_error(index, error, topic, payload))

    def give_up(self, batch: Batch, error: Exception) -> None:
        """Refuse the messages that wait, because they cannot be looked up: they are held for replay."""
        waiting, batch.waiting = batch.waiting, []
        batch.unknown_tenants.clear()
        for candidate in waiting:
            topic = batch.messages[candidate.index - batch.first].topic
            batch.refused.append(_internal_error(candidate.index, error, topic, candidate.payload))

    def _route(self, topic: str) -> Route | Refusal:
        """Run check 1, once a topic."""
        parsed = topics.parse(topic)
        if isinstance(parsed, Refusal):
            return parsed
        tenant_id, device_id, kind = parsed.tenant_id, parsed.device_id, parsed.kind
        route = Route(
            tenant_id,
            device_id,
            kind,
            (tenant_id, device_id),
            bucket_key(tenant_id, device_id),
            prefix(tenant_id, device_id, kind),
            blake2b(digest_size=8, person=kind.value.encode()),
        )
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _too_large(self, batch: Batch, index: int, route: Route, payload: bytes) -> None:
        """Refuse a message that failed check 2."""
        detail = f"{len(payload)} bytes; at most {self._max_payload} (ingest.max_payload_bytes)"
        self._refuse_message(batch, index, Refusal(Reason.PAYLOAD_TOO_LARGE, detail), route, payload)

    def _read(
        self, batch: Batch, index: int, route: Route, payload: bytes, now: float | None, empty: LimitScope | None
    ) -> None:
        """Run checks 4 to 7, then those that need the device, if it is in memory.

        ``now`` is None for a message that is not charged; ``empty`` is the scope of the bucket that it found empty.
        """
        envelope = self._decode(payload, route.kind)
        if type(envelope) is not Envelope:
            self._refuse_message(batch, index, cast("Refusal", envelope), route, payload)
            return
        status = self._status_of(route.key, batch.received)
        charge = SETTLED
        ts = envelope.ts
        age = 0 if ts is None else batch.received_at - ts
        if (
            (empty is not None or age >= LEAST_AGE)
            and now is not None
            and not (empty is None and self._shift(1000 * age))
        ):
            found = self._charging.charge(route, ts, batch.received_at, status, now, empty)
            if isinstance(found, LimitScope) and route.key in batch.held_up:
                found = Charge.BEHIND
            if isinstance(found, LimitScope):
                self._refuse_message(batch, index, RATE_LIMITED[found], route, payload, envelope)
                return
            charge = found
            if charge is not SETTLED:
                batch.held_up.add(route.key)  # until the allowance is read
        if not envelope.plain:
            mismatch = _mismatch(envelope, route)
            if mismatch is not None:
                self._refuse_message(batch, index, mismatch, route, payload, envelope)
                return
            if status is not None and status.registered and status.site_id is None and envelope.site is not None:
                batch.held_up.add(route.key)
        if status is None or (batch.held_up and route.key in batch.held_up):
            batch.waiting.append(Candidate(index, route, envelope, payload, charge))
        else:
            self._accept(batch, index, route, envelope, payload, status)

    def _accept(
        self, batch: Batch, index: int, route: Route, envelope: Envelope, payload: bytes, status: AdmissionStatus
    ) -> None:
        """Run checks 8 to 14, then add the reading to the batch."""
        refusal, offline = status.refusal, False
        if refusal is None and (self._token_demanded or not envelope.plain):
            refusal = self._claims_refused(envelope, status, batch.received)
            if envelope.unplaced:
                batch.with_unplaced = True
            if route.kind is Kind.STATUS:
                batch.with_status = True
                offline = says_offline(route.kind, envelope.metrics)
        if refusal is not None:
            self._refuse_message(batch, index, refusal, route, payload, envelope)
            return
        received_at = batch.received_at
        state = status.state
        assert state is not None, "an accepted device is registered, and its state was read with it"  # noqa: S101
        ts = envelope.ts
        adjusted = False
        if ts is None or (
            not CLOCK_NEVER_SET <= ts <= received_at + self._max_skew and not self._fits_wall(ts, received_at)
        ):
            adjusted = ts is not None
            ts, digest = self._stamp(state, received_at), self._randbytes(8)
        elif (received_at - ts > self._retention or ts < self._kept_since.ts) and not self._fits_wall(ts, received_at):
            self._refuse_message(batch, index, self._kept_since.too_old(received_at - ts), route, payload, envelope)
            return
        else:
            # 64 bits of kind and payload tell messages of one device and time apart.
            hasher = route.hasher.copy()
            hasher.update(payload)
            digest = hasher.digest()
        late = False if offline else state.admit(ts)  # it may be the will of a connection that died long ago
        data = row(route.start, envelope, ts, digest, received_at, adjusted, late)
        batch.readings.append(
            Reading(
                index,
                route,
                state,
                ts,
                digest,
                adjusted,
                late,
                envelope.metrics,
                envelope.nulls,
                envelope.unplaced,
                payload,
                data,
            )
        )

    def _fits_wall(self, ts: int, received_at: int) -> bool:
        """Return whether a time that is wrong by service time is right by a wall clock in doubt: either may be."""
        offset = self._offset_in_doubt()
        if offset is None or ts < CLOCK_NEVER_SET:
            return False
        return -self._retention <= ts - received_at - round(offset * MICROSECONDS) <= self._max_skew

    def _claims_refused(self, envelope: Envelope, status: AdmissionStatus, now: float) -> Refusal | None:
        """Run checks 12 and 13 on the token and the site that the message names."""
        if envelope.token is not None or self._token_demanded:
            refusal = _token_refusal(envelope.token, status, now)
            if refusal is not None:
                return refusal
        if envelope.site is not None and mentioned_site(envelope.site).site_id != status.site_id:
            detail = f"`site_id` names another site than the device's {status.site_id}"
            return Refusal(Reason.SITE_MISMATCH, detail)
        return None

    def _refuse_message(
        self,
        batch: Batch,
        index: int,
        refusal: Refusal,
        route: Route,
        payload: bytes,
        envelope: Envelope | None = None,
    ) -> None:
        """Add a refused message to the batch."""
        batch.refused.append(
            RefusedSubmission(
                index,
                refusal.reason,
                refusal.detail,
                f"tenant/{route.tenant_id}/device/{route.device_id}/{route.kind.value}",
                payload,
                self._owner(batch, route),
                route.device_id,
                route.kind.value,
                None if envelope is None or envelope.site is None else mentioned_site(envelope.site).site_id,
                None if envelope is None else envelope.ts,
            )
        )

    def _owner(self, batch: Batch, route: Route) -> str | None:
        """Return whose message it is that is not stored. One of a tenant that does not exist is the operator's."""
        tenant = self._registry.tenant(route.tenant_id)
        if tenant is None:
            batch.unknown_tenants.add(route.tenant_id)
        return route.tenant_id if tenant is None or tenant.known else None

    def reassign_unknown_tenants(self, batch: Batch) -> None:
        """Give the operator the messages of those ``batch.unknown_tenants`` that turned out not to exist."""
        for index, refused in enumerate(batch.refused):
            if self._does_not_exist(refused.tenant_id):
                batch.refused[index] = msgspec.structs.replace(refused, tenant_id=None)
        for index, cleared in enumerate(batch.cleared):
            if self._does_not_exist(cleared.tenant_id):
                batch.cleared[index] = msgspec.structs.replace(cleared, tenant_id=None)
        batch.unknown_tenants.clear()

    def _does_not_exist(self, tenant_id: str | None) -> bool:
        tenant = None if tenant_id is None else self._registry.tenant(tenant_id)
        return tenant is not None and not tenant.known


def _internal_error(index: int, error: Exception, topic: str, payload: bytes) -> RefusedSubmission:
    """Refuse a message that met a bug of ours: the traceback is logged, and the message is held for replay."""
    log.error("check failed", topic=shown(topic), exc_info=error)
    return _refusal_of(
        index, Refusal(Reason.INTERNAL_ERROR, f"{type(error).__name__} in a check; see the log"), topic, payload
    )


def _token_refusal(token: str | None, status: AdmissionStatus, now: float) -> Refusal | None:
    """Run check 12."""
    if status.token_hash is None:
        return Refusal(Reason.TOKEN_NOT_SET, "the device has no token; `appliance device rotate` creates one")
    if token is None:
        return Refusal(Reason.TOKEN_MISSING, "`provision_token` is demanded (ingest.require_payload_token)")
    if not status.accepts_token(token, now):
        return Refusal(Reason.TOKEN_INVALID, "`provision_token` is not the device's token")
    return None


def _mismatch(envelope: Envelope, route: Route) -> Refusal | None:
    """Run check 7."""
    if envelope.tenant_id is not None and envelope.tenant_id != route.tenant_id:
        return Refusal(Reason.TENANT_MISMATCH, f"`tenant_id` names another tenant than the topic's {route.tenant_id}")
    if envelope.device_id is not None and envelope.device_id != route.device_id:
        return Refusal(Reason.DEVICE_MISMATCH, f"`device_id` names another device than the topic's {route.device_id}")
    return None


def _refusal_of(index: int, refusal: Refusal, topic: str, payload: bytes) -> RefusedSubmission:
    return RefusedSubmission(index, refusal.reason, refusal.detail, shown(topic), payload)


def shown(topic: str) -> str:
    """Return a topic as logs and quarantine keep it: one that is too long is cut, and a digest tells it from others."""
    data = topic.encode(errors="replace")
    if len(data) <= _SHOWN_TOPIC:
        return topic
    cut = data[: _SHOWN_TOPIC - 24].decode(errors="ignore")
    return f"{cut}...#{blake2b(data, digest_size=8).hexdigest()}"
