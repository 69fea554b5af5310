"""The live parts of the list of subscriptions: the figures, the rows that are shown, and the newest events.

The name of the live page is the query of the list.
"""

import structlog
from werkzeug.datastructures import MultiDict

from appliance.errors import Invalid
from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer
from appliance.web.subscriptions.list_views import PAGE, SubscriptionPages
from appliance.web.subscriptions.listing import PATH
from appliance.web.subscriptions.page_query import PageQuery

SHARED_SECONDS = 2.0
"""Seconds for which viewers share one rendering: of thousands of subscriptions it takes a tenth of one."""

log = structlog.get_logger(__name__)


class LiveSubscriptions:
    """Renders the live parts of the list."""

    def __init__(self, renderer: PageRenderer, pages: SubscriptionPages) -> None:
        self._renderer = renderer
        self._pages = pages

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        try:
            address = Address.of_query(PATH, which)
            asked = parse_query(MultiDict(address.pairs), PageQuery)
            tenant_id = tenant_of_live(seen_by, address)
            frame = self._renderer.frame(seen_by, path=PATH, live_page=f"{PAGE}/{which}")
            with live_read():
                async with self._renderer.platform.access.reading(seen_by) as connection:
                    shown = await self._pages.read(connection, seen_by, tenant_id, asked)
        except (Invalid, ValueError) as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        values = {"address": address, "live": True, "frame": frame} | shown
        render = self._renderer.templates.render
        parts = [
            LivePart("live-state", render("overview/live-state.html", **values)),
            LivePart("subscription-figures", render("subscriptions/key-figures.html", **values)),
            LivePart("subscription-list", render("subscriptions/rows.html", **values)),
        ]
        if shown["may_renew"]:
            parts.append(LivePart("subscription-events", render("subscriptions/events.html", **values)))
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]
