"""The live part of the pages of deletions: how far each is."""

import trio

from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart, NotNow
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.renderer import PageRenderer
from appliance.web.tenants.deletion_views import PAGE
from appliance.web.tenants.deletions import DeletionActions

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering, since each rendering queries Postgres."""
POSTGRES_TIMEOUT = 1.0
"""Seconds that an update waits for Postgres; longer would look like a lost connection."""


def install(renderer: PageRenderer, actions: DeletionActions) -> None:
    """Register the live part."""

    async def progress(seen_by: Viewer) -> list[LivePart]:
        """Return the progress of the newest deletions; none for a customer. Raises NotNow without Postgres."""
        if not seen_by.is_operator:
            return []
        frame = renderer.frame(seen_by, path="/tenants", live_page=PAGE)
        try:
            with trio.fail_after(POSTGRES_TIMEOUT):
                latest = await actions.latest(seen_by)
        except POSTGRES_AWAY as error:
            raise NotNow(str(error)) from error
        return [
            LivePart(
                f"deletion-{each.deletion_id}",
                renderer.templates.render("tenants/deletion-progress.html", frame=frame, live=True, deletion=each),
            )
            for each in latest
        ]

    renderer.live_pages.add(PAGE, progress, shared_for=SHARED_SECONDS)
