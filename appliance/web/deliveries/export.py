"""The list of deliveries as a CSV file, in the order of the list."""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import deliveries
from appliance.delivery.outbox.deliveries import DeliveryFilter
from appliance.web.access.auth import Viewer
from appliance.web.deliveries.schemas import DeliveryOut
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = DeliveryOut.__struct_fields__


def answer(platform: Platform, who: Viewer, wanted: DeliveryFilter) -> Response:
    """Return the download of all deliveries that match, newest first."""

    async def read(connection: Connection[Any], after: int | None) -> csv.Page[int]:
        page = await deliveries.page(connection, wanted, limit=csv.PAGE_ROWS, after=after)
        return [tuple(getattr(one, name) for name in HEADS) for one in page.deliveries], page.next

    return csv.list_answer(platform, who, "deliveries", HEADS, read)
