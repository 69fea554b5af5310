"""The list of subscriptions as a CSV file."""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import store
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "tenant_id", "subscription_id", "subscription_type", "parent_subscription_id", "status", "device_limit",
    "active_device_count", "term_start", "term_end", "grace_end", "hold_reason", "plan_id", "description",
)  # fmt: skip


def answer(platform: Platform, who: Viewer, tenant_id: str | None) -> Response:
    """Return the download of the subscriptions of a tenant, or for None of all that ``who`` sees."""

    async def read(connection: Connection[Any], after: tuple[str, str] | None) -> csv.Page[tuple[str, str]]:
        page = await store.list_page(
            connection,
            tenant_id,
            limit=csv.PAGE_ROWS,
            after=after,
            now=platform.access.settled(),
            grace=platform.grace,
        )
        rows = [[getattr(one, name) for name in HEADS] for one in page]
        return rows, csv.next_position(page, lambda one: (one.tenant_id, one.subscription_id))

    return csv.list_answer(platform, who, "subscriptions", HEADS, read)
