"""The live parts of the page of routes: how each route goes, and the newest deliveries.

A route stays where it is; one that is new, or was moved, is shown when the page is loaded.
"""

from collections.abc import Mapping
from uuid import UUID

import structlog

from appliance.delivery.routes import store
from appliance.delivery.senders.sender import Sender
from appliance.errors import Invalid, NotFound
from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart
from appliance.web.page.address import Address
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer
from appliance.web.routes import listing, log
from appliance.web.routes.listing import PATH

PAGE = "routes"
SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering."""

logger = structlog.get_logger(__name__)


class LiveRoutes:
    """Renders the live parts."""

    def __init__(self, renderer: PageRenderer, senders: Mapping[str, Sender]) -> None:
        self._renderer = renderer
        self._senders = senders

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        platform, render = self._renderer.platform, self._renderer.templates.render
        try:
            address = Address.of_query(PATH, which)
            tenant_id = tenant_of_live(seen_by, address)
            with live_read():
                listed = await listing.read(platform, self._senders, address.first("cursor"), seen_by, tenant_id)
                async with platform.access.reading(seen_by) as connection:
                    text, now = address.first("route"), platform.access.now()
                    route = None
                    if text and tenant_id is not None:
                        route = (await store.get(connection, tenant_id, UUID(text))).route
                    told = await log.read(connection, tenant_id, route, seen_by, now)
        except (Invalid, NotFound, ValueError) as error:
            logger.debug("live list with an invalid name", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path=PATH, live_page=f"{PAGE}/{which}")
        parts = [
            LivePart("live-state", render("overview/live-state.html", frame=frame, live=True)),
            LivePart("delivery-log", render("routes/log.html", frame=frame, log=told), calm=True),
        ]
        parts += [
            LivePart(f"r-{row.known.route.route_id}-{part}", render(f"routes/row-{part}.html", frame=frame, row=row))
            for row in listed.rows
            for part in ("state", "delivered", "failed")
        ]
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]


def install(renderer: PageRenderer, senders: Mapping[str, Sender]) -> None:
    """Register the live parts of the page."""
    renderer.live_pages.add_each(PAGE, LiveRoutes(renderer, senders).listed, shared_for=SHARED_SECONDS)
