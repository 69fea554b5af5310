"""The list of metrics as a CSV file."""

from dataclasses import astuple
from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics import store
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = ("tenant_id", "name", "label", "unit", "decimals", "usual_low", "usual_high")


def answer(platform: Platform, who: Viewer, tenant_id: str | None) -> Response:
    """Return the download of the metrics of a tenant, or for None of all that ``who`` sees."""

    async def read(connection: Connection[Any], after: tuple[str, str] | None) -> csv.Page[tuple[str, str]]:
        page = await store.list_page(connection, tenant_id, limit=csv.PAGE_ROWS, after=after)
        rows = [(one.tenant_id, *astuple(one.metric)) for one in page]
        return rows, csv.next_position(page, lambda one: (one.tenant_id, one.metric.name))

    return csv.list_answer(platform, who, "metrics", HEADS, read)
