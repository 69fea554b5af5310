"""What the API says of quarantined messages, and what it takes: the types of ``/customer/quarantine``."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from appliance.broker.refusals import BrokerRefusal
from appliance.broker.refusals import RefusalCause as DoorCause
from appliance.ingest.quarantine.replay_preview import ReplayPreview
from appliance.ingest.quarantine.replays import Replay, ReplayStatus
from appliance.ingest.quarantine.store import MAX_IDS, HeldReach, MessageStatus, QuarantinedMessage, RefusalCause
from appliance.reading import Reason
from appliance.web.page.labels import REASONS
from appliance.web.quarantine.actions import QuarantineFilter, TenantOffer
from appliance.web.quarantine.payload import blackened

MAX_PAGE = 500
MessageId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class MessageSummary(StrEnum):
    """Which messages, by what was decided on them; ``HELD``: nothing yet."""

    HELD = "HELD"
    REPLAYED = "REPLAYED"
    DISMISSED = "DISMISSED"
    ALL = "all"

    @property
    def status(self) -> MessageStatus | None:
        """As the store knows it."""
        return None if self is MessageSummary.ALL else MessageStatus(self.value)


class MessageQuery(QuarantineFilter, frozen=True, kw_only=True):
    """Which messages."""

    status: MessageSummary = MessageSummary.HELD
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Meta(max_length=100)] = ""


class MessageOut(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was not accepted."""

    id: int
    received_at: datetime
    ts: Annotated[datetime | None, Meta(description="The time the device gave, if it came to be read.")]
    topic: str
    tenant_id: Annotated[str | None, Meta(description="None: of no known tenant; only operators see it.")]
    site_id: str | None
    device_id: str | None
    kind: str | None
    reason: Reason
    title: Annotated[str, Meta(description="The reason in words.")]
    detail: str
    status: MessageStatus
    decided_at: datetime | None
    decided_by: str | None
    payload_bytes: int


class MessageAnswer(MessageOut, frozen=True, kw_only=True, omit_defaults=True):
    """A message with its payload: as text if it is UTF-8, else in base64."""

    payload: str | None = None
    payload_base64: str | None = None


class MessagePage(msgspec.Struct, frozen=True):
    """One page, newest first; ``next`` is the cursor of the next, if there is one."""

    items: list[MessageOut]
    next: str | None


class CauseAnswer(msgspec.Struct, frozen=True):
    """One reason."""

    reason: Reason
    title: str
    advice: str
    held: int
    held_bytes: int
    oldest: datetime | None
    newest: datetime | None
    refused: Annotated[int, Meta(description="Messages ever refused for it, exactly, kept or not.")]


class HoldingAnswer(msgspec.Struct, frozen=True):
    """How much is kept, and how far back it reaches."""

    messages: int
    bytes: int
    held: int
    held_bytes: int
    evicted: int
    complete_since: Annotated[
        datetime | None, Meta(description="Nothing received later was lost. None: nothing ever was.")
    ]
    oldest: datetime | None


class CausesAnswer(msgspec.Struct, frozen=True):
    """What is held, by reason."""

    causes: list[CauseAnswer]
    holding: HoldingAnswer


class OfferAnswer(msgspec.Struct, frozen=True):
    """Held messages of one reason that could be replayed by now, and what has changed."""

    tenant_id: str
    reason: Reason
    cause: str
    messages: int
    devices: int
    oldest: datetime


class BrokerRefusalQuery(msgspec.Struct, frozen=True):
    """Whose refusals."""

    device: str | None = None


class BrokerRefusalAnswer(msgspec.Struct, frozen=True):
    """What the broker refused; what it did not tell is null."""

    cause: DoorCause
    at: Annotated[float, Meta(description="The last time, in seconds since 1970.")]
    times: int
    tenant_id: str | None
    device_id: str | None
    address: str | None
    client_id: str | None
    username: str | None
    topic: str | None
    hint: str | None


class MessageSelection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which held messages: those named, or all that match."""

    ids: Annotated[tuple[MessageId, ...], Meta(max_length=MAX_IDS)] = ()
    reasons: tuple[Reason, ...] = ()
    device_id: str | None = None
    site_id: str | None = None
    since: str | None = None
    until: str | None = None
    unknown_tenant: Annotated[bool, Meta(description="For operators: of no known tenant.")] = False

    @property
    def filter(self) -> QuarantineFilter:
        """All but the ids."""
        return QuarantineFilter(
            reason=self.reasons,
            device=self.device_id,
            site=self.site_id,
            since=self.since,
            until=self.until,
            unknown_tenant=self.unknown_tenant,
        )


class ReplayQuery(msgspec.Struct, frozen=True):
    """Whether to do it."""

    dry_run: Annotated[bool, Meta(description="Only say what would become of them.")] = False


class ForecastAnswer(msgspec.Struct, frozen=True):
    """What would become of the ``examined`` oldest of ``selected`` messages."""

    selected: int
    examined: int
    passing: int
    refused: Mapping[Reason, int]
    new_devices: Annotated[int, Meta(description="Devices that would be registered, their seats taken.")]
    complete: Annotated[bool, Meta(description="Whether every message was looked at.")]


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A replay, and how far it has come."""

    replay_id: int
    tenant_id: str | None
    status: ReplayStatus
    total: int
    examined: int
    replayed: Annotated[int, Meta(description="Stored as readings.")]
    duplicate: Annotated[int, Meta(description="Stored already.")]
    refused: Annotated[Mapping[Reason, int], Meta(description="Still held, by the reason they are held for now.")]
    gone: Annotated[int, Meta(description="Decided on or evicted meanwhile.")]
    error: str | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None


class DismissAnswer(msgspec.Struct, frozen=True):
    """How many messages were dismissed."""

    dismissed: int


def listed(event: QuarantinedMessage) -> MessageOut:
    """A message of a list."""
    return MessageOut(**_columns(event))


def whole(event: QuarantinedMessage) -> MessageAnswer:
    """A message with its payload."""
    payload = blackened(event.payload)
    try:
        return MessageAnswer(**_columns(event), payload=payload.decode())
    except UnicodeDecodeError:
        return MessageAnswer(**_columns(event), payload_base64=b64encode(payload).decode())


def _columns(event: QuarantinedMessage) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "received_at": event.ingested_at,
        "ts": event.event_ts,
        "topic": event.topic,
        "tenant_id": event.tenant_id,
        "site_id": event.site_id,
        "device_id": event.device_id,
        "kind": event.kind,
        "reason": event.reason,
        "title": REASONS[event.reason].title,
        "detail": event.detail,
        "status": event.status,
        "decided_at": event.decided_at,
        "decided_by": event.decided_by,
        "payload_bytes": event.payload_bytes,
    }


def cause_of(cause: RefusalCause) -> CauseAnswer:
    """A reason with its words."""
    words = REASONS[cause.reason]
    return CauseAnswer(
        cause.reason,
        words.title,
        words.advice,
        cause.held,
        cause.held_bytes,
        cause.oldest,
        cause.newest,
        cause.refused,
    )


def holding_of(reach: HeldReach) -> HoldingAnswer:
    """How much is kept."""
    return HoldingAnswer(
        reach.messages,
        reach.bytes,
        reach.held,
        reach.held_bytes,
        reach.evicted,
        reach.complete_since,
        reach.oldest,
    )


def offered(one: TenantOffer) -> OfferAnswer:
    """An offer with its tenant."""
    offer = one.offer
    return OfferAnswer(one.tenant_id, offer.reason, offer.cause, offer.messages, offer.devices, offer.oldest)


def broker_refusal_answer(one: BrokerRefusal) -> BrokerRefusalAnswer:
    """A refusal of the broker."""
    return BrokerRefusalAnswer(
        one.cause,
        one.at,
        one.times,
        one.tenant_id,
        one.device_id,
        one.address,
        one.client_id,
        one.username,
        one.topic,
        one.hint(),
    )


def preview_answer(forecast: ReplayPreview) -> ForecastAnswer:
    """A forecast."""
    return ForecastAnswer(
        forecast.selected,
        forecast.examined,
        forecast.passing,
        forecast.refused,
        forecast.new_devices,
        forecast.complete,
    )


def replaying(job: Replay) -> ReplayAnswer:
    """A replay."""
    return ReplayAnswer(
        replay_id=job.replay_id,
        tenant_id=job.selection.tenant_id or None,
        status=job.status,
        total=job.total,
        examined=job.examined,
        replayed=job.replayed,
        duplicate=job.duplicate,
        refused=job.refused,
        gone=job.gone,
        error=job.error,
        created_at=job.created_at,
        created_by=job.created_by,
        ended_at=job.ended_at,
    )
