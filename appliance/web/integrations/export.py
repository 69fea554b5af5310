"""The list of integrations as a CSV file. What it is configured with is left to the API: it differs by type."""

from typing import Any

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations import store
from appliance.delivery.integrations.store import IntegrationFilter, IntegrationPosition, KnownIntegration
from appliance.web.access.auth import viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "tenant_id", "integration_id", "name", "type", "enabled", "disabled_reason", "concurrency", "routes",
    "last_success_at", "last_failure_at", "last_error", "failing_since", "unreachable_since",
)  # fmt: skip


def answer(platform: Platform, wanted: IntegrationFilter) -> Response:
    """Return the download of the integrations that match."""

    async def read(connection: Connection[Any], after: IntegrationPosition | None) -> csv.Page[IntegrationPosition]:
        page = await store.list_page(connection, wanted, limit=csv.PAGE_ROWS, after=after)
        return [_cells(known) for known in page], csv.next_position(page, lambda known: known.position)

    return csv.list_answer(platform, viewer(), "integrations", HEADS, read)


def _cells(known: KnownIntegration) -> tuple[Any, ...]:
    kept = known.integration
    return (
        kept.tenant_id, kept.integration_id, kept.name, kept.type, kept.enabled, kept.disabled_reason, kept.concurrency,
        known.routes, known.last_success_at, known.last_failure_at, known.last_error, known.failing_since,
        known.unreachable_since,
    )  # fmt: skip
