"""The page of one alert: what can be done, the chart around its opening, facts, timeline, who was told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from appliance.alerts import store
from appliance.alerts.store import AlertFilter, AlertSort, AlertTab
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid
from appliance.web.access.auth import READERS, RESPONDERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.alerts.views import page_query, undo
from appliance.web.alerts.views.chart import RANGES
from appliance.web.alerts.views.listing import DONE
from appliance.web.alerts.views.opened import OpenedAlert, PlaceInList, open_alert
from appliance.web.alerts.views.shown import to_step
from appliance.web.http.forwarding import own_url
from appliance.web.page.address import Address
from appliance.web.page.paths import number_of_path, of_tenant
from appliance.web.page.renderer import PageRenderer

LIVE_PAGE = "alert"
MAX_PLACES = 1000
"""Open alerts among which the place of one is found; beyond that the page does not say it."""


def blueprint(renderer: PageRenderer, retention: timedelta) -> Blueprint:
    """Return the route of the page."""
    routes = Blueprint("alert", __name__)
    access = renderer.platform.access

    @routes.get("/alerts/<int:alert_id>")
    @allow(READERS)
    async def alert(alert_id: int) -> Response:
        chosen = request.args.get("range") or "around"
        if chosen not in RANGES:
            raise Invalid("This must be around, 24h or 7d.", "range")
        who, shown = viewer(), tenants_shown()
        async with access.reading() as connection:
            found = await read_page(
                connection, renderer, who, shown, number_of_path(alert_id, "alert"), retention, chosen=chosen
            )
        return await _answer(renderer, who, found, chosen)

    return routes


async def read_page(
    connection: Connection[Any],
    renderer: PageRenderer,
    who: Viewer,
    tenant_id: str | None,
    alert_id: int,
    retention: timedelta,
    *,
    chosen: str,
) -> OpenedAlert:
    """Read what the page shows. Raises NotFound."""
    access = renderer.platform.access
    now, settled = access.now(), access.settled()
    read = await page_query.read_alert(connection, alert_id, tenant_id)
    [one] = page_query.in_windows([read], renderer.platform)
    found = await open_alert(connection, one, who, now=now, settled=settled, retention=retention, chosen=chosen)
    filter_of_place = AlertFilter(tenant_id=tenant_id or one.alert.tenant_id, tab=AlertTab.OPEN)
    others = await store.page(
        connection,
        filter_of_place,
        settled=settled,
        maintenance=page_query.scopes(renderer.platform, filter_of_place.tenant_id),
        sort=AlertSort.SEVERITY,
        limit=MAX_PLACES,
    )
    ids = [other.alert.alert_id for other in others.alerts]
    return replace(found, place=None if others.next else place_of(who, one.alert.tenant_id, alert_id, ids))


def place_of(who: Viewer, tenant_id: str, alert_id: int, ids: Sequence[int]) -> PlaceInList | None:
    """Return where an alert stands among the open ones in their order; None if it is not one of them."""
    if alert_id not in ids:
        return None
    at = ids.index(alert_id)
    before, after = ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None
    hrefs = [None if one is None else of_tenant(f"/alerts/{one}", who, tenant_id) for one in (before, after)]
    return PlaceInList(at + 1, len(ids), *hrefs)


async def _answer(renderer: PageRenderer, who: Viewer, found: OpenedAlert, chosen: str) -> Response:
    address, alert = Address.of_request(), found.one.alert
    which = {"tenant": alert.tenant_id, "range": chosen}
    return await renderer.page(
        "alerts/alert.html",
        live_page=f"{LIVE_PAGE}/{alert.alert_id}?{urlencode(which)}",
        done=DONE,
        undo=undo.offered(who),
        live=False,
        found=found,
        may_act=who.role in RESPONDERS,
        ranges=[(label, address.having(range=name), name == chosen) for name, label in RANGES.items()],
        back_to_list=of_tenant("/alerts", who, alert.tenant_id),
        share=f"{own_url(renderer.platform.public_url)}/alerts/{alert.alert_id}",
        to=to_step(who, address),
        to_id=lambda other: of_tenant(f"/alerts/{other}", who, alert.tenant_id),
    )
