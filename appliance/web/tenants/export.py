"""The list of tenants as a CSV file."""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.tenants import TenantStatus
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

LIMITS = ("rate", "burst", "tenant_rate")
HEADS = (
    "tenant_id", "name", "status", "provisioning", "claim_enabled", "time_zone", *LIMITS, "devices", "last_heard_at",
    "created_at",
)  # fmt: skip


def answer(platform: Platform, who: Viewer, search: str, status: TenantStatus | None) -> Response:
    """Return the download of the tenants that match."""

    async def read(connection: Connection[Any], after: str | None) -> csv.Page[str]:
        page = await tenants.list_page(connection, search=search, status=status, limit=csv.PAGE_ROWS, after=after)
        rows = [[getattr(one.limits if name in LIMITS else one, name) for name in HEADS] for one in page]
        return rows, csv.next_position(page, lambda one: one.tenant_id)

    return csv.list_answer(platform, who, "tenants", HEADS, read)
