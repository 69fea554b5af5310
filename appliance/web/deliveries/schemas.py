"""The types of ``/customer/deliveries``: its query, bodies and answers, and how they are made."""

from datetime import datetime, tzinfo
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from appliance.delivery.outbox.deliveries import MAX_RETRIED, Attempt, Delivery, DeliveryFilter
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.errors import Invalid
from appliance.severity import Severity
from appliance.web.deliveries.actions import WholeDelivery
from appliance.web.page.time_range import moment_of

MAX_PAGE = 1000
"""Deliveries on one page at most."""
TIME = "A day, RFC 3339, or seconds since 1970. Without an offset: your time zone."

AlertId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Since = Annotated[str | None, Meta(description=f"Written at this time or later. {TIME}")]
Until = Annotated[str | None, Meta(description=f"Written before this time. {TIME}")]


Search = Annotated[str, Meta(max_length=200, description="Words in alert, device, route, integration or message id.")]


class DeliveryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries. One matches a parameter with several values if it matches one of them."""

    status: tuple[JobStatus, ...] = ()
    event: tuple[JobEvent, ...] = ()
    route_id: UUID | None = None
    integration_id: UUID | None = None
    alert_id: AlertId | None = None
    since: Since = None
    until: Until = None
    q: Search = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class DeliveryRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead deliveries are sent again; a field that is left out matches any."""

    event: tuple[JobEvent, ...] = ()
    route_id: UUID | None = None
    integration_id: UUID | None = None
    alert_id: AlertId | None = None
    since: Since = None
    until: Until = None
    q: Search = ""


class DeliveryRetried(msgspec.Struct, frozen=True):
    """How many deliveries are sent again."""

    retried: Annotated[int, Meta(description=f"{MAX_RETRIED} at most: ask again until it is 0.")]


class DeliveryOut(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery: one notice that one route is to deliver."""

    job_id: int
    tenant_id: str
    alert_id: int
    alert_summary: str
    alert_type: str
    severity: Severity
    alert_status: str
    device_id: str | None
    device_name: str | None
    route_id: UUID
    route_name: Annotated[str | None, Meta(description="Null: the route was deleted.")]
    integration_id: UUID
    integration_name: Annotated[str | None, Meta(description="Null: the integration was deleted.")]
    integration_type: str | None
    event: JobEvent
    occurrence: Annotated[int, Meta(description="Counts reminders, and acknowledgements after an undone one.")]
    message_id: Annotated[UUID, Meta(description="The same on every try, so that the receiver can tell a repeat.")]
    status: JobStatus
    reason: Annotated[Reason | None, Meta(description="Why it waits (PENDING), was skipped, or is dead.")]
    created_at: datetime
    next_run_at: Annotated[datetime, Meta(description="When it is sent or decided on next; of no meaning at the end.")]
    tries: Annotated[int, Meta(description="Tries that were answered or timed out: each uses a step of the retries.")]
    attempt_count: Annotated[int, Meta(description="All tries, those included that reached nobody.")]
    receipt: Annotated[Receipt, Meta(description="What is known of its receipt.")]
    unreachable_since: Annotated[datetime | None, Meta(description="Since when there is no way out for it.")]
    merged_into: Annotated[int | None, Meta(description="The delivery whose notice tells this one, too.")]
    finished_at: datetime | None


class AttemptOut(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a delivery."""

    at: datetime
    latency_ms: int
    outcome: Annotated[
        str,
        Meta(
            description="`delivered`, `retry`, `refused`, `gone`, `unreached`, or `lost`: the appliance ended before"
            " the answer was written down."
        ),
    ]
    http_status: Annotated[int | None, Meta(description="Of HTTP, or the reply code of SMTP.")]
    address: Annotated[str | None, Meta(description="The IP address that was dialled.")]
    answer: Annotated[str | None, Meta(description="Its first 2 KiB.")]
    error: str | None
    request: Annotated[str | None, Meta(description="What was sent, secrets masked.")]


class DeliveryWhole(DeliveryOut, frozen=True, kw_only=True):
    """A delivery with its attempts, newest first."""

    attempts: list[AttemptOut]


class DeliveryList(msgspec.Struct, frozen=True):
    """One page of deliveries; ``next`` is the cursor of the next, if there is one."""

    items: list[DeliveryOut]
    next: str | None


def filter_of(asked: DeliveryQuery | DeliveryRetry, tenant_id: str | None, zone: tzinfo | None) -> DeliveryFilter:
    """Return the filter that is asked for; ``zone`` is the viewer's. Raises Invalid, naming the field."""
    since = None if asked.since is None else moment_of(asked.since, zone, "since")
    until = None if asked.until is None else moment_of(asked.until, zone, "until", ends=True)
    if since is not None and until is not None and since >= until:
        raise Invalid("`since` must be before `until`.", "since")
    if "\0" in asked.q:
        raise Invalid("This holds characters that cannot be shown.", "q")
    statuses = asked.status if isinstance(asked, DeliveryQuery) else ()
    return DeliveryFilter(
        tenant_id, statuses, asked.event, asked.route_id, asked.integration_id, asked.alert_id, since, until, asked.q
    )


def delivery_out(one: Delivery) -> DeliveryOut:
    """Return a delivery of a list."""
    return DeliveryOut(**_fields(one))


def whole_out(one: WholeDelivery) -> DeliveryWhole:
    """Return a delivery with its attempts."""
    return DeliveryWhole(**_fields(one.delivery), attempts=[_attempt(attempt) for attempt in one.attempts])


def _fields(one: Delivery) -> dict[str, Any]:
    return {name: getattr(one, name) for name in DeliveryOut.__struct_fields__}


def _attempt(one: Attempt) -> AttemptOut:
    return AttemptOut(**{name: getattr(one, name) for name in AttemptOut.__struct_fields__})
