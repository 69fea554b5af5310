"""The live parts of the list of devices: presence, when each was last seen, its newest values, its open alerts.

A row stays where it is until the page is loaded: the name of the live page is the devices that it shows.
"""

import structlog

from appliance.devices import fleet
from appliance.devices.topics import valid_id
from appliance.web.access.auth import Viewer
from appliance.web.devices.labels import DEVICE_STATUSES
from appliance.web.devices.views.listing import LIVE_PAGE, MAX_LIVE_NAME, read_rows
from appliance.web.live.parts import LivePart
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering."""
PARTS = ("presence", "seen", "values", "alerts")

log = structlog.get_logger(__name__)


class LiveDeviceList:
    """Renders the live parts."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        platform, render = self._renderer.platform, self._renderer.templates.render
        try:
            tenant_id, keys = _keys(which, seen_by)
            with live_read():
                await platform.maintenance.refresh()
                async with platform.access.reading(seen_by) as connection:
                    members = await fleet.named(connection, keys)
                    rows = await read_rows(connection, members, seen_by, platform, with_lines=False)
        except ValueError as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path="/devices", live_page=f"{LIVE_PAGE}/{which}")
        parts = [LivePart("live-state", render("overview/live-state.html", frame=frame, live=True))]
        for row in rows:
            for part in PARTS:
                html = render(f"devices/row-{part}.html", frame=frame, row=row, statuses=DEVICE_STATUSES)
                parts.append(LivePart(f"{part}-{row.key}", html, calm=True))
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]


def _keys(which: str, seen_by: Viewer) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the tenant of a live list and its devices. Raises ValueError."""
    of, _, names = which.partition("/")
    tenant_id = seen_by.tenant_id or of or None
    if len(which) > MAX_LIVE_NAME or not valid_id(tenant_id or "all"):
        raise ValueError("no list of devices")
    keys = []
    for name in names.split(",") if names else []:
        owner, _, device_id = name.rpartition(":")
        key = (tenant_id or owner, device_id)
        if not all(map(valid_id, key)):
            raise ValueError("no id of a device")
        keys.append(key)
    return tenant_id, keys


def install(renderer: PageRenderer) -> None:
    """Register the live parts of the list."""
    renderer.live_pages.add_each(LIVE_PAGE, LiveDeviceList(renderer).listed, shared_for=SHARED_SECONDS)
