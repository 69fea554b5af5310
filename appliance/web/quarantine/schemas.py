"""The types of ``/customer/quarantine``: its queries, bodies and answers, and how they are made."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.ingest.quarantine.replay_preview import ReplayPreview
from appliance.ingest.quarantine.replays import Replay, ReplayStatus
from appliance.ingest.quarantine.store import MAX_IDS, HeldReach, MessageStatus, QuarantinedMessage, ReasonTotals
from appliance.reading import Reason
from appliance.web.page.labels import REASONS
from appliance.web.quarantine.actions import QuarantineFilter, TenantOffer
from appliance.web.quarantine.payload import masked

MAX_PAGE = 500
MessageId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class MessageStatusFilter(StrEnum):
    """Which messages, by the decision on them; ``HELD``: none yet."""

    HELD = "HELD"
    REPLAYED = "REPLAYED"
    DISMISSED = "DISMISSED"
    ALL = "all"

    @property
    def status(self) -> MessageStatus | None:
        """The status to filter by; None for all messages."""
        return None if self is MessageStatusFilter.ALL else MessageStatus(self.value)


class MessageQuery(QuarantineFilter, frozen=True, kw_only=True):
    """Which messages."""

    status: MessageStatusFilter = MessageStatusFilter.HELD
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Meta(max_length=100)] = ""


class MessageOut(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was not accepted."""

    id: int
    received_at: datetime
    ts: Annotated[datetime | None, Meta(description="The time that the device gave, if it could be read.")]
    topic: str
    tenant_id: Annotated[str | None, Meta(description="Null: of no known tenant; only operators see it.")]
    site_id: str | None
    device_id: str | None
    kind: str | None
    reason: Reason
    title: Annotated[str, Meta(description="The title of the reason.")]
    detail: str
    status: MessageStatus
    decided_at: datetime | None
    decided_by: str | None
    payload_bytes: int


class MessageAnswer(MessageOut, frozen=True, kw_only=True, omit_defaults=True):
    """A message with its payload: as text if it is UTF-8, otherwise in base64."""

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
    refused: Annotated[int, Meta(description="The exact number of messages refused for it, kept or not.")]


class HeldReachAnswer(msgspec.Struct, frozen=True):
    """The number and size of kept messages, and how far back they are complete."""

    messages: int
    bytes: int
    held: int
    held_bytes: int
    evicted: int
    complete_since: Annotated[
        datetime | None, Meta(description="No message received later was evicted. Null: none ever was.")
    ]
    oldest: datetime | None


class CausesAnswer(msgspec.Struct, frozen=True):
    """Held messages by reason."""

    causes: list[CauseAnswer]
    holding: HeldReachAnswer


class OfferAnswer(msgspec.Struct, frozen=True):
    """Held messages of one reason that could be stored by now, and what has changed."""

    tenant_id: str
    reason: Reason
    cause: str
    messages: int
    devices: int
    oldest: datetime


class BrokerRefusalQuery(msgspec.Struct, frozen=True):
    """Filters what the broker refused by its device."""

    device: str | None = None


class BrokerRefusalAnswer(msgspec.Struct, frozen=True):
    """What the broker refused; what the broker did not log is null."""

    cause: RefusalCause
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
    """Which held messages: those with the given ids, or all that match."""

    ids: Annotated[tuple[MessageId, ...], Meta(max_length=MAX_IDS)] = ()
    reasons: tuple[Reason, ...] = ()
    device_id: str | None = None
    site_id: str | None = None
    since: str | None = None
    until: str | None = None
    unknown_tenant: Annotated[bool, Meta(description="For operators: messages of no known tenant.")] = False

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
    """How to replay."""

    dry_run: Annotated[bool, Meta(description="Only preview the replay.")] = False


class ReplayPreviewAnswer(msgspec.Struct, frozen=True):
    """The result that a replay of the ``examined`` oldest of ``selected`` messages would have."""

    selected: int
    examined: int
    passing: int
    refused: Mapping[Reason, int]
    new_devices: Annotated[int, Meta(description="Devices that would be registered and given a seat.")]
    complete: Annotated[bool, Meta(description="Whether every message was examined.")]


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and its progress."""

    replay_id: int
    tenant_id: str | None
    status: ReplayStatus
    total: int
    examined: int
    replayed: Annotated[int, Meta(description="Stored as readings.")]
    duplicate: Annotated[int, Meta(description="Stored already.")]
    refused: Annotated[Mapping[Reason, int], Meta(description="Still held, by their present reason.")]
    gone: Annotated[int, Meta(description="Decided or evicted in the meantime.")]
    error: str | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None


class DismissAnswer(msgspec.Struct, frozen=True):
    """The number of dismissed messages."""

    dismissed: int


def listed(event: QuarantinedMessage) -> MessageOut:
    """Return a message of a list."""
    return MessageOut(**_columns(event))


def whole(event: QuarantinedMessage) -> MessageAnswer:
    """Return a message with its payload."""
    payload = masked(event.payload)
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


def cause_of(cause: ReasonTotals) -> CauseAnswer:
    """Return a reason with its label and totals."""
    label = REASONS[cause.reason]
    return CauseAnswer(
        cause.reason,
        label.title,
        label.advice,
        cause.held,
        cause.held_bytes,
        cause.oldest,
        cause.newest,
        cause.refused,
    )


def reach_answer(reach: HeldReach) -> HeldReachAnswer:
    """Return how much is kept and how far back it is complete."""
    return HeldReachAnswer(
        reach.messages,
        reach.bytes,
        reach.held,
        reach.held_bytes,
        reach.evicted,
        reach.complete_since,
        reach.oldest,
    )


def offered(one: TenantOffer) -> OfferAnswer:
    """Return an offer with its tenant."""
    offer = one.offer
    return OfferAnswer(one.tenant_id, offer.reason, offer.cause, offer.messages, offer.devices, offer.oldest)


def broker_refusal_answer(one: BrokerRefusal) -> BrokerRefusalAnswer:
    """Return a refusal of the broker."""
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


def preview_answer(preview: ReplayPreview) -> ReplayPreviewAnswer:
    """Return the preview of a replay."""
    return ReplayPreviewAnswer(
        preview.selected,
        preview.examined,
        preview.passing,
        preview.refused,
        preview.new_devices,
        preview.complete,
    )


def replay_answer(job: Replay) -> ReplayAnswer:
    """Return a replay."""
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
