"""Lists as files, whole: tenants, subscriptions. A page at a time, each in its transaction.

A slow download holds neither a connection nor the list.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from quart import Response

from appliance.devices import tenants as tenant_store
from appliance.devices.tenants import TenantStatus
from appliance.subscriptions import store
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

PAGE_ROWS = 1000

TENANT_HEADS = (
    "tenant_id",
    "name",
    "status",
    "provisioning",
    "claim_enabled",
    "time_zone",
    "rate",
    "burst",
    "tenant_rate",
    "devices",
    "last_heard_at",
    "created_at",
)
SUBSCRIPTION_HEADS = (
    "tenant_id",
    "subscription_id",
    "subscription_type",
    "parent_subscription_id",
    "status",
    "device_limit",
    "active_device_count",
    "term_start",
    "term_end",
    "grace_end",
    "hold_reason",
    "plan_id",
    "description",
)

Pages = AsyncIterator[Sequence[Sequence[Any]]]


def tenants(platform: Platform, who: Viewer, search: str, status: TenantStatus | None) -> Response:
    """The tenants that match."""
    return csv.answer("tenants", TENANT_HEADS, _tenants(platform, who, search, status), _now(platform))


def subscriptions(platform: Platform, who: Viewer, tenant_id: str | None) -> Response:
    """The subscriptions of a tenant, or for None of all that the viewer sees, as they are worth now."""
    rows = _subscriptions(platform, who, tenant_id)
    return csv.answer("subscriptions", SUBSCRIPTION_HEADS, rows, _now(platform))


def _now(platform: Platform) -> float:
    return platform.clock.wall()


async def _tenants(platform: Platform, who: Viewer, search: str, status: TenantStatus | None) -> Pages:
    after: str | None = None
    while True:
        async with platform.access.reading(who) as connection:
            page = await tenant_store.list_page(connection, search=search, status=status, limit=PAGE_ROWS, after=after)
        yield [
            tuple(
                getattr(one.limits if name in {"rate", "burst", "tenant_rate"} else one, name) for name in TENANT_HEADS
            )
            for one in page
        ]
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].tenant_id


async def _subscriptions(platform: Platform, who: Viewer, tenant_id: str | None) -> Pages:
    after: tuple[str, str] | None = None
    while True:
        async with platform.access.reading(who) as connection:
            page = await store.list_page(
                connection,
                tenant_id,
                limit=PAGE_ROWS,
                after=after,
                now=platform.access.now(),
                grace=platform.grace,
            )
        yield [tuple(getattr(one, name) for name in SUBSCRIPTION_HEADS) for one in page]
        if len(page) < PAGE_ROWS:
            return
        after = (page[-1].tenant_id, page[-1].subscription_id)
