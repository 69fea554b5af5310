"""The newest deliveries, below the list of routes: of all of them, or of the one that is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import deliveries
from appliance.delivery.routes.route import Route
from appliance.web.access.auth import Viewer
from appliance.web.deliveries.page_query import STATUSES, DeliveryState, PageQuery, filter_of
from appliance.web.deliveries.shown import ShownDelivery, shown
from appliance.web.page.paths import of_tenant

ROWS = 7


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """The newest deliveries."""

    of: str
    """The name of the route; empty: of all routes."""
    rows: Sequence[ShownDelivery]
    tabs: Sequence[tuple[str, str]]
    """Label and address of all deliveries, of those that wait, and of the dead ones."""
    detail: str
    """The address of one opened delivery, without its number."""


async def read(
    connection: Connection[Any], tenant_id: str | None, route: Route | None, who: Viewer, now: datetime
) -> DeliveryLog:
    """Return the newest deliveries of a route, or of all."""
    of = None if route is None else route.route_id
    wanted = filter_of(PageQuery(route_id=of), tenant_id, now)
    found = (await deliveries.page(connection, wanted, limit=ROWS)).deliveries
    tries = await deliveries.newest_attempts(connection, found)
    counts = await deliveries.counts(connection, wanted)
    tenant_id = tenant_id if route is None else route.tenant_id
    asked = {} if of is None else {"route_id": str(of)}
    states = [
        (f"{state.value.capitalize()} {sum(counts[one] for one in STATUSES[state]):,}", state.value)
        for state in (DeliveryState.WAITING, DeliveryState.DEAD)
    ]
    return DeliveryLog(
        "" if route is None else route.name,
        [shown(one, tries.get(one.job_id), who, now) for one in found],
        [
            ("All", of_tenant("/deliveries", who, tenant_id, **asked)),
            *((label, of_tenant("/deliveries", who, tenant_id, **asked, state=state)) for label, state in states),
        ],
        of_tenant("/deliveries", who, tenant_id, **asked, open=""),
    )
