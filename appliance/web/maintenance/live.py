"""The live parts of the list of maintenance windows: what is active, when each starts or ends, what can be done."""

import structlog
from werkzeug.datastructures import MultiDict

from appliance.errors import Invalid
from appliance.web.access.auth import RESPONDERS, Viewer, may_change
from appliance.web.live.parts import LivePart
from appliance.web.maintenance import listing, views
from appliance.web.maintenance.actions import MaintenanceActions, WindowState
from appliance.web.maintenance.schemas import WindowQuery
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering."""

log = structlog.get_logger(__name__)


class LiveWindows:
    """Renders the live parts; a window stays where it is until the page is loaded."""

    def __init__(self, renderer: PageRenderer, windows: MaintenanceActions) -> None:
        self._renderer = renderer
        self._windows = windows

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        try:
            address = Address.of_query(views.PATH, which)
            asked, tenant_id = parse_query(MultiDict(address.pairs), WindowQuery), tenant_of_live(seen_by, address)
            with live_read():
                page = await self._windows.page_of(seen_by, tenant_id, views.PAGE_ROWS, asked.cursor, ())
                active = await self._windows.page_of(seen_by, tenant_id, 2, None, [WindowState.ACTIVE])
        except (Invalid, ValueError) as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        now, render = self._renderer.platform.clock.settled(), self._renderer.templates.render
        frame = self._renderer.frame(seen_by, path=views.PATH, live_page=f"{views.PAGE}/{which}")
        sentence = listing.active_sentence(active, now)
        note = render("maintenance/active.html", active=page.counts[WindowState.ACTIVE], active_sentence=sentence)
        parts = [
            LivePart("live-state", render("overview/live-state.html", frame=frame, live=True)),
            LivePart("maintenance-active", note),
        ]
        may = {"may_end": seen_by.role in RESPONDERS, "may_change": may_change(seen_by)}
        for row in listing.rows_of(page, now):
            values = {"frame": frame, "row": row, "links": views.links_of(row, seen_by), **may}
            for part in ("next", "acts"):
                name = f"m-{row.known.window.window_id}-{part}"
                parts.append(LivePart(name, render(f"maintenance/row-{part}.html", **values)))
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]


def install(renderer: PageRenderer, windows: MaintenanceActions) -> None:
    """Register the live parts of the page."""
    renderer.live_pages.add_each(views.PAGE, LiveWindows(renderer, windows).listed, shared_for=SHARED_SECONDS)
