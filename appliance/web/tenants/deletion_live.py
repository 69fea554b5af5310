"""The live part of the pages of deletions: how far each is."""

from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer
from appliance.web.tenants.deletion_views import PAGE
from appliance.web.tenants.deletions import DeletionActions

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering, since each rendering queries Postgres."""


def install(renderer: PageRenderer, actions: DeletionActions) -> None:
    """Register the live part."""

    async def progress(seen_by: Viewer) -> list[LivePart]:
        """Return the progress of the newest deletions; none for a customer. Raises NotNow without Postgres."""
        if not seen_by.is_operator:
            return []
        frame = renderer.frame(seen_by, path="/tenants", live_page=PAGE)
        with live_read():
            latest = await actions.latest(seen_by)
        return [
            LivePart(
                f"deletion-{each.deletion_id}",
                renderer.templates.render("tenants/deletion-progress.html", frame=frame, live=True, deletion=each),
            )
            for each in latest
        ]

    renderer.live_pages.add(PAGE, progress, shared_for=SHARED_SECONDS)
