"""The live parts of the page of deliveries: numbers, how many are new, the rows that are shown, and the opened one.

A row stays where it is, whatever becomes of its delivery; new ones are counted, and loaded on request. The name of the
live page is the query of the list with the deliveries that it shows.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog
from werkzeug.datastructures import MultiDict

from appliance.delivery.outbox import deliveries
from appliance.errors import Invalid
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.deliveries import views
from appliance.web.deliveries.page_query import PAGE_ROWS, DeliveryState, PageQuery, filter_of
from appliance.web.deliveries.shown import OpenedDelivery, ShownDelivery, shown
from appliance.web.live.parts import LivePart
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.frame import Frame
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering."""
MARKER = ("rows", "newest")
"""The parts of the name that are no part of the page's address."""
MAX_NEWS = 200
"""New deliveries that are counted at most."""

log = structlog.get_logger(__name__)


class LiveDeliveries:
    """Renders the live parts of the list."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        access = self._renderer.platform.access
        now = access.now()
        try:
            address = Address.of_query("/deliveries", which)
            asked = parse_query(MultiDict(address.pairs), PageQuery)
            tenant_id = tenant_of_live(seen_by, address)
            wanted = filter_of(asked, tenant_id, now)
            ids = _ids(address.first("rows"))
            newest = _ids(address.first("newest"))
        except (Invalid, ValueError) as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        own = address.having(**dict.fromkeys(MARKER, None))
        frame = self._renderer.frame(seen_by, path="/deliveries", live_page=f"{views.PAGE}/{which}")
        with live_read():
            async with access.reading(seen_by) as connection:
                found = await deliveries.of_ids(connection, tenant_id, ids)
                tries = await deliveries.newest_attempts(connection, found)
                rows = [shown(one, tries.get(one.job_id), seen_by, now) for one in found]
                numbers = views.counted(await deliveries.counts(connection, wanted))
                opened = await views.read_opened(connection, asked, rows, seen_by, self._renderer)
                news = 0
                if newest:
                    unseen = replace(wanted, newer_than=newest[0])
                    news = len((await deliveries.page(connection, unseen, limit=MAX_NEWS)).deliveries)
        parts = self._parts(frame, own, numbers, news, rows, opened)
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]

    def _parts(
        self,
        frame: Frame,
        address: Address,
        numbers: dict[DeliveryState, int],
        news: int,
        rows: Sequence[ShownDelivery],
        opened: OpenedDelivery | None,
    ) -> list[LivePart]:
        values = {"address": address, "back": address.query, "may_act": frame.viewer.role in RESPONDERS}
        parts = [
            LivePart("live-state", self._render("overview/live-state.html", frame)),
            LivePart("delivery-news", self._render("deliveries/news.html", frame, news=news, **values)),
        ]
        for state, number in numbers.items():
            html = f'<span class="count" id="state-{state.value}">{number:,}</span>'
            parts.append(LivePart(f"state-{state.value}", html))
        for row in rows:
            parts += [
                LivePart(
                    f"d-{row.job_id}-{part}", self._render(f"deliveries/row-{part}.html", frame, row=row, **values)
                )
                for part in ("state", "tries")
            ]
        if opened is not None:
            parts.append(
                LivePart("delivery-tries", self._render("deliveries/tries.html", frame, opened=opened, **values))
            )
        return parts

    def _render(self, name: str, frame: Frame, **values: object) -> str:
        return self._renderer.templates.render(name, frame=frame, live=True, **values)


def install(renderer: PageRenderer) -> None:
    """Register the live parts of the page."""
    renderer.live_pages.add_each(views.PAGE, LiveDeliveries(renderer).listed, shared_for=SHARED_SECONDS)


def _ids(text: str) -> list[int]:
    """Return the numbers of ``1.2.3``. Raises ValueError for anything else, and for too many."""
    texts = text.split(".") if text else []
    if len(texts) > PAGE_ROWS + 1 or not all(one.isdecimal() and len(one) <= 18 for one in texts):
        raise ValueError("no ids of deliveries")
    return [int(one) for one in texts]
