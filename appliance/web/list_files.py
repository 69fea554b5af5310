"""Devices, sites and metrics as files: the whole list, a page at a time, each in a transaction of its own.

A slow download holds neither a connection nor the list.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple
from typing import Any

from quart import Response

from appliance.devices import fleet, metric_store
from appliance.devices import sites as site_store
from appliance.devices.device import DeviceStatus
from appliance.devices.fleet import Filter, Member, Place, Sort
from appliance.web import csv_export
from appliance.web.auth import Viewer
from appliance.web.services import Services

PAGE_ROWS = 1000

DEVICE_HEADS = (
    "tenant_id",
    "device_id",
    "name",
    "place",
    "tags",
    "site_id",
    "status",
    "presence",
    "subscription_id",
    "interval",
    "last_seen_at",
    "last_heard_at",
    "refused_reason",
    "own_credential",
    "created_at",
)
SITE_HEADS = ("tenant_id", "site_id", "name", "time_zone", "lat", "lng", "zone", "devices")
METRIC_HEADS = ("tenant_id", "name", "label", "unit", "decimals", "usual_low", "usual_high")

Pages = AsyncIterator[Sequence[Sequence[Any]]]


def devices(services: Services, who: Viewer, wanted: Filter, sort: Sort, *, down: bool) -> Response:
    """The devices that match, in their order."""
    return csv_export.answer("devices", DEVICE_HEADS, _devices(services, who, wanted, sort, down), _now(services))


def sites(services: Services, who: Viewer, tenant_id: str | None) -> Response:
    """The sites of a tenant, or for None of all that the viewer sees."""
    return csv_export.answer("sites", SITE_HEADS, _sites(services, who, tenant_id), _now(services))


def metrics(services: Services, who: Viewer, tenant_id: str | None) -> Response:
    """The metrics of a tenant, or for None of all that the viewer sees."""
    return csv_export.answer("metrics", METRIC_HEADS, _metrics(services, who, tenant_id), _now(services))


def _now(services: Services) -> float:
    return services.clock.wall()


async def _devices(services: Services, who: Viewer, wanted: Filter, sort: Sort, down: bool) -> Pages:
    place: Place | None = None
    while True:
        async with services.access.reading(who) as connection:
            page = await fleet.list_page(connection, wanted, sort=sort, down=down, limit=PAGE_ROWS, after=place)
        yield [_cells(member) for member in page.members]
        place = page.next
        if place is None:
            return


async def _sites(services: Services, who: Viewer, tenant_id: str | None) -> Pages:
    after: tuple[str, str] | None = None
    while True:
        async with services.access.reading(who) as connection:
            page = await site_store.list_page(connection, tenant_id, limit=PAGE_ROWS, after=after)
        yield [(one.tenant_id, *astuple(one.site), one.zone, one.devices) for one in page]
        if len(page) < PAGE_ROWS:
            return
        after = (page[-1].tenant_id, page[-1].site.site_id)


async def _metrics(services: Services, who: Viewer, tenant_id: str | None) -> Pages:
    after: tuple[str, str] | None = None
    while True:
        async with services.access.reading(who) as connection:
            page = await metric_store.list_page(connection, tenant_id, limit=PAGE_ROWS, after=after)
        yield [(one.tenant_id, *astuple(one.metric)) for one in page]
        if len(page) < PAGE_ROWS:
            return
        after = (page[-1].tenant_id, page[-1].metric.name)


def _cells(member: Member) -> tuple[Any, ...]:
    device = member.device
    return (
        device.tenant_id,
        device.device_id,
        device.name,
        device.place,
        "|".join(device.tags),
        device.site_id,
        device.status.value,
        member.presence.value if device.status is DeviceStatus.ACTIVE else None,
        device.subscription_id,
        member.interval,
        member.last_seen_at,
        member.last_heard_at,
        member.refused_reason,
        member.own_credential,
        member.created_at,
    )
