"""The list of devices as a CSV file, which can be imported again as it is.

:mod:`appliance.devices.seats.import_file` knows every column, and a test imports what was exported.
"""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.device import DeviceStatus
from appliance.devices.fleet import DeviceFilter, FleetDevice, FleetPosition, Sort
from appliance.devices.seats.import_file import joined_tags
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
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
    "learned_interval",
    "last_seen_at",
    "last_heard_at",
    "refused_reason",
    "own_credential",
    "created_at",
)


def answer(platform: Platform, who: Viewer, wanted: DeviceFilter, sort: Sort, *, down: bool) -> Response:
    """Return the download of the devices that match, in their order. ``down``: in descending order."""

    async def read(connection: Connection[Any], after: FleetPosition | None) -> csv.Page[FleetPosition]:
        page = await fleet.list_page(connection, wanted, sort=sort, down=down, limit=csv.PAGE_ROWS, after=after)
        return [_cells(member) for member in page.members], page.next

    return csv.list_answer(platform, who, "devices", HEADS, read)


def _cells(member: FleetDevice) -> tuple[Any, ...]:
    device = member.device
    return (
        device.tenant_id,
        device.device_id,
        device.name,
        device.place,
        joined_tags(device.tags),
        device.site_id,
        device.status.value,
        member.presence.value if device.status is DeviceStatus.ACTIVE else None,
        device.subscription_id,
        device.interval,
        member.learned_interval,
        member.last_seen_at,
        member.last_heard_at,
        member.refused_reason,
        member.own_credential,
        member.created_at,
    )
