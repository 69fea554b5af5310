"""The live parts of the page of integrations: the health of each, and when it delivered last."""

import structlog

from appliance.errors import Invalid
from appliance.web.access.auth import Viewer
from appliance.web.integrations import listing
from appliance.web.integrations.actions import IntegrationActions
from appliance.web.integrations.listing import PATH
from appliance.web.live.parts import LivePart
from appliance.web.page.address import Address
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer

PAGE = "integrations"
SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering."""

log = structlog.get_logger(__name__)


class LiveIntegrations:
    """Renders the live parts."""

    def __init__(self, renderer: PageRenderer, integrations: IntegrationActions) -> None:
        self._renderer = renderer
        self._integrations = integrations

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        try:
            address = Address.of_query(PATH, which)
            tenant_id = tenant_of_live(seen_by, address)
            with live_read():
                listed = await listing.read(self._integrations, address.first("cursor"), seen_by, tenant_id)
        except (Invalid, ValueError) as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        render = self._renderer.templates.render
        frame = self._renderer.frame(seen_by, path=PATH, live_page=f"{PAGE}/{which}")
        parts = [LivePart("live-state", render("overview/live-state.html", frame=frame, live=True))]
        for row in listed.rows:
            of = f"i-{row.known.integration.integration_id}"
            for part in ("last", "health"):
                html = render(f"integrations/row-{part}.html", frame=frame, row=row)
                parts.append(LivePart(f"{of}-{part}", html, calm=True))
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]


def install(renderer: PageRenderer, integrations: IntegrationActions) -> None:
    """Register the live parts of the page."""
    renderer.live_pages.add_each(PAGE, LiveIntegrations(renderer, integrations).listed, shared_for=SHARED_SECONDS)
