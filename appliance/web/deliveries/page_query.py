"""The query of the page of deliveries, as it stands in an address: states, time and search in the words of people."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import deliveries
from appliance.delivery.outbox.deliveries import DeliveryFilter
from appliance.delivery.outbox.job import JobEvent, JobStatus
from appliance.errors import Invalid

PAGE_ROWS = 50


class DeliveryState(StrEnum):
    """What people tell apart: a delivery that is being sent waits for its answer."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    SKIPPED = "skipped"


STATUSES: Mapping[DeliveryState, tuple[JobStatus, ...]] = MappingProxyType(
    {
        DeliveryState.WAITING: (JobStatus.PENDING, JobStatus.PROCESSING),
        DeliveryState.DELIVERED: (JobStatus.COMPLETED,),
        DeliveryState.DEAD: (JobStatus.DEAD,),
        DeliveryState.SKIPPED: (JobStatus.SKIPPED,),
    }
)


class Span(StrEnum):
    """How far back the list goes."""

    DAY = "24h"
    WEEK = "7d"
    ALL = "90d"


SPANS: Mapping[Span, timedelta] = MappingProxyType(
    {Span.DAY: timedelta(days=1), Span.WEEK: timedelta(days=7), Span.ALL: timedelta(days=90)}
)
"""The longest is as long as deliveries are kept."""
NARROWING = ("q", "state", "route_id", "integration_id", "event", "alert_id")
"""The parameters that leave out deliveries of a span."""


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query of the page."""

    state: tuple[DeliveryState, ...] = ()
    event: JobEvent | None = None
    route_id: UUID | None = None
    integration_id: UUID | None = None
    alert_id: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    span: Span = Span.WEEK
    q: Annotated[str, Meta(max_length=200)] = ""
    cursor: Annotated[str, Meta(max_length=100)] = ""
    open: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    """The delivery that is opened below its row."""

    @property
    def narrows(self) -> bool:
        """Return whether it leaves out deliveries of its span."""
        return any(getattr(self, name) for name in NARROWING)


async def usual_total(connection: Connection[Any], tenant_id: str | None, now: datetime) -> int:
    """Return how many deliveries the page lists if nothing is filtered."""
    return sum((await deliveries.counts(connection, filter_of(PageQuery(), tenant_id, now))).values())


def filter_of(asked: PageQuery, tenant_id: str | None, now: datetime) -> DeliveryFilter:
    """Return the filter that the page asks for. Raises Invalid for text that Postgres cannot compare."""
    if "\0" in asked.q:
        raise Invalid("This holds characters that cannot be shown.", "q")
    return DeliveryFilter(
        tenant_id=tenant_id,
        statuses=tuple(status for state in asked.state for status in STATUSES[state]),
        events=() if asked.event is None else (asked.event,),
        route_id=asked.route_id,
        integration_id=asked.integration_id,
        alert_id=asked.alert_id,
        since=now - SPANS[asked.span],
        search=asked.q,
    )
