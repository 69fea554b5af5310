"""The list of routes as a CSV file."""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.delivery.routes import store
from appliance.delivery.routes.store import KnownRoute, RouteFilter, RoutePosition
from appliance.web.access.auth import viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "tenant_id", "route_id", "name", "enabled", "priority", "stop", "integration_id", "integration", "severities",
    "alert_types", "site_ids", "tags", "device_prefixes", "deliver_on", "delay_seconds", "remind_minutes",
    "throttle_seconds", "burst", "quiet_begins", "quiet_ends", "quiet_zone", "quiet_spares_critical",
)  # fmt: skip


def answer(platform: Platform, wanted: RouteFilter) -> Response:
    """Return the download of the routes that match."""

    async def read(connection: Connection[Any], after: RoutePosition | None) -> csv.Page[RoutePosition]:
        page = await store.list_page(connection, wanted, limit=csv.PAGE_ROWS, after=after)
        return [_cells(known) for known in page], csv.next_position(page, lambda known: known.position)

    return csv.list_answer(platform, viewer(), "integration-routes", HEADS, read)


def _cells(known: KnownRoute) -> tuple[Any, ...]:
    route, quiet = known.route, known.route.quiet
    return (
        route.tenant_id, route.route_id, route.name, route.enabled, route.priority, route.stop, route.integration_id,
        known.integration_name, route.severities, route.alert_types, route.site_ids, route.tags, route.device_prefixes,
        route.deliver_on, route.delay_seconds, route.remind_minutes, route.throttle_seconds, route.burst,
        quiet and quiet.begins, quiet and quiet.ends, quiet and quiet.zone, quiet and quiet.spares_critical,
    )  # fmt: skip
