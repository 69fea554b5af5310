"""The live parts of the pages of alerts: numbers, how many alerts are new, and the rows that are shown, in place.

A row stays where it is, whatever becomes of its alert: nothing moves under the pointer. New alerts are counted, and
loaded on request. The name of a list's live page is its own query with the alerts that it shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from werkzeug.datastructures import MultiDict

from appliance.errors import Invalid, NotFound
from appliance.severity import Severity
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.alerts.query import filter_of
from appliance.web.alerts.views import detail, listing, page_query
from appliance.web.alerts.views.chart import RANGES
from appliance.web.alerts.views.listing import MAX_KNOWN, MAX_PAGE_ROWS, PAGE, PageQuery, TabNumbers
from appliance.web.alerts.views.opened import OpenedAlert, open_alert
from appliance.web.alerts.views.shown import ShownAlert, shown, to_step
from appliance.web.live.parts import LivePart
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.frame import Frame
from appliance.web.page.live_address import tenant_of_live
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer

SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering; a change of an alert ends it at once."""
MARKER = ("rows", "known", "since")
"""The parts of the name that are no part of the page's address."""

log = structlog.get_logger(__name__)


class LiveAlerts:
    """Renders the live parts of the list and of one alert."""

    def __init__(self, renderer: PageRenderer, retention: timedelta) -> None:
        self._renderer = renderer
        self._retention = retention

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose name is ``which``; none for an invalid name. Raises NotNow."""
        try:
            address = Address.of_query("/alerts", which)
            asked = parse_query(MultiDict(address.pairs), PageQuery)
            tenant_id = tenant_of_live(seen_by, address)
            wanted = filter_of(asked, tenant_id, seen_by.zone)
            shown_ids, known = (_ids(address.first(name)) for name in ("rows", "known"))
            since = _moment(address.first("since"))
        except (Invalid, ValueError, OverflowError) as error:
            log.debug("live list with an invalid name", error=str(error))
            return []
        own = address.having(**dict.fromkeys(MARKER, None))
        frame = self._renderer.frame(seen_by, path="/alerts", live_page=f"{PAGE}/{which}")
        access = self._renderer.platform.access
        now, settled = access.now(), access.settled()
        maintenance = page_query.scopes(self._renderer.platform, tenant_id)
        with live_read():
            async with access.reading(seen_by) as connection:
                read = await page_query.read_alerts(connection, shown_ids, tenant_id)
                alerts = page_query.in_windows(read, self._renderer.platform)
                metrics = await page_query.read_metrics(connection, alerts)
                told = await page_query.read_told(connection, alerts)
                numbers = await listing.read_numbers(connection, tenant_id, settled, maintenance)
                news = []
                if since is not None:
                    news = await listing.newer(connection, wanted, since, settled, maintenance, [*shown_ids, *known])
                opened = None
                if asked.open is not None:
                    one = next((one for one in alerts if one.alert.alert_id == asked.open), None)
                    if one is not None:
                        opened = await open_alert(
                            connection, one, seen_by, now=now, settled=settled, retention=self._retention
                        )
            rows = [
                shown(one, metrics, seen_by, now=now, settled=settled, told=told.get(one.alert.alert_id))
                for one in alerts
            ]
            parts = self._list_parts(frame, own, asked, numbers, len(news), rows)
            if opened is not None:
                parts += self._opened_parts(frame, opened, own, in_list=True)
        return [*parts, *await self._renderer.live_nav_counts(seen_by, tenant_id)]

    async def one(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of one alert's page, or none if it is not there. Raises NotNow."""
        number, _, query = which.partition("?")
        try:
            address = Address.of_query(f"/alerts/{number}", query)
            alert_id, tenant_id = _ids(number)[0], tenant_of_live(seen_by, address)
            chosen = address.first("range", "around")
            if chosen not in RANGES:
                return []
        except (ValueError, IndexError, Invalid):
            return []
        try:
            with live_read():
                async with self._renderer.platform.access.reading(seen_by) as connection:
                    found = await detail.read_page(
                        connection, self._renderer, seen_by, tenant_id, alert_id, self._retention, chosen=chosen
                    )
        except NotFound as error:
            log.debug("live page without its alert", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path=f"/alerts/{number}", live_page=f"{detail.LIVE_PAGE}/{which}")
        parts = self._opened_parts(frame, found, address, in_list=False)
        parts.append(LivePart("live-state", self._render("overview/live-state.html", frame)))
        return [*parts, *await self._renderer.live_nav_counts(seen_by, found.one.alert.tenant_id)]

    def _list_parts(
        self,
        frame: Frame,
        address: Address,
        asked: PageQuery,
        numbers: TabNumbers,
        news: int,
        rows: Sequence[ShownAlert],
    ) -> list[LivePart]:
        tabs = listing.tab_links(address, asked.tab, numbers)
        parts = [
            LivePart("live-state", self._render("overview/live-state.html", frame)),
            LivePart("page-title", self._render("alerts/title.html", frame, open=numbers.unclosed.open)),
            LivePart("alert-tabs", self._render("alerts/tabs.html", frame, tabs=tabs)),
            LivePart("alert-news", self._render("alerts/news.html", frame, address=address, news=news)),
        ]
        for severity in Severity:
            number = numbers.severity(asked.tab, severity)
            if number is not None:
                html = f'<span class="count" id="sev-{severity.value}">{number}</span>'
                parts.append(LivePart(f"sev-{severity.value}", html))
        to = to_step(frame.viewer, address)
        for one in rows:
            parts += [
                LivePart(f"a-{one.alert_id}-{part}", self._render(f"alerts/row-{part}.html", frame, one=one, to=to))
                for part in ("marks", "value", "when", "told", "acts")
            ]
        return parts

    def _opened_parts(self, frame: Frame, found: OpenedAlert, address: Address, *, in_list: bool) -> list[LivePart]:
        names = {"alert-steps": "steps", "alert-timeline": "timeline", "alert-cause": "cause"}
        names |= (
            {"alert-facts": "facts-short", "alert-told": "told"}
            if in_list
            else {
                "alert-facts": "facts",
                "alert-state": "state",
                "alert-routing": "routing",
            }
        )
        if found.chart is not None:
            names["alert-chart"] = "chart"
        values = {
            "found": found,
            "one": found.one,
            "chart": found.chart,
            "size": "" if in_list else "l",
            "in_list": in_list,
            "may_act": frame.viewer.role in RESPONDERS,
            "to": to_step(frame.viewer, address),
        }
        return [
            LivePart(element_id, self._render(f"alerts/{name}.html", frame, **values), calm=name in ("chart", "facts"))
            for element_id, name in names.items()
        ]

    def _render(self, name: str, frame: Frame, **values: object) -> str:
        return self._renderer.templates.render(name, frame=frame, live=True, **values)


def install(renderer: PageRenderer, retention: timedelta) -> None:
    """Register the live parts of the pages."""
    live = LiveAlerts(renderer, retention)
    renderer.live_pages.add_each(PAGE, live.listed, shared_for=SHARED_SECONDS)
    renderer.live_pages.add_each(detail.LIVE_PAGE, live.one, shared_for=SHARED_SECONDS)


def _ids(text: str) -> list[int]:
    """Return the numbers of ``1.2.3``. Raises ValueError for anything else, and for too many."""
    texts = text.split(".") if text else []
    if len(texts) > MAX_PAGE_ROWS + 1 + MAX_KNOWN or not all(one.isdecimal() and len(one) <= 18 for one in texts):
        raise ValueError("no ids of alerts")
    return [int(one) for one in texts]


def _moment(text: str) -> datetime | None:
    return None if not text else datetime.fromtimestamp(float(text), UTC)
