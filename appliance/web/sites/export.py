"""The list of sites as a CSV file."""

from dataclasses import astuple
from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.devices import sites
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = ("tenant_id", "site_id", "name", "time_zone", "lat", "lng", "zone", "devices")


def answer(platform: Platform, who: Viewer, tenant_id: str | None) -> Response:
    """Return the download of the sites of a tenant, or for None of all that ``who`` sees."""

    async def read(connection: Connection[Any], after: tuple[str, str] | None) -> csv.Page[tuple[str, str]]:
        page = await sites.list_page(connection, tenant_id, limit=csv.PAGE_ROWS, after=after)
        rows = [(one.tenant_id, *astuple(one.site), one.zone, one.devices) for one in page]
        return rows, csv.next_position(page, lambda one: (one.tenant_id, one.site.site_id))

    return csv.list_answer(platform, who, "sites", HEADS, read)
