"""Renders pages: a template in the viewer's frame, with the numbers of the navigation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from quart import Response, request

from appliance.web.access.auth import Viewer, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.live.parts import LivePages, LivePart
from appliance.web.page.address import Address
from appliance.web.page.away_peers import AwayPeers
from appliance.web.page.banners import Banner, State, banners_of
from appliance.web.page.failures import trouble_text
from appliance.web.page.frame import NAVIGATION, Frame, NavEntry, Undo
from appliance.web.page.nav_count_reader import NavCountReader
from appliance.web.page.nav_counts import NavCounts
from appliance.web.page.templating import Templates
from appliance.web.platform import Platform

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PageRenderer:
    """Renders the pages of all concepts; made once, in ``create_app``."""

    platform: Platform
    templates: Templates
    live_pages: LivePages
    nav_counts: NavCountReader
    away_peers: AwayPeers
    """For pages that show the presence of devices."""

    async def page(
        self,
        name: str,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        live_page: str | None = None,
        done: Mapping[str, str] | None = None,
        undo: Undo | None = None,
        **values: Any,
    ) -> Response:
        """Return the template ``name`` in the viewer's frame, with ``frame``, ``address`` and ``values``.

        ``done``: sentences for a toast; a successful form redirects here with ``?done=KEY``. ``undo``: what the
        toast's Undo sends.
        """
        toast = None if done is None else done.get(request.args.get("done", ""))
        frame = await self.counted(self.frame(live_page=live_page, toast=toast))
        frame = replace(frame, undo=undo if toast else None)
        html = self.templates.render(name, frame=frame, address=Address.of_request(), **values)
        return Response(html, status=status, content_type=HTML)

    def frame(
        self,
        seen_by: Viewer | None = None,
        *,
        path: str | None = None,
        live_page: str | None = None,
        toast: str | None = None,
    ) -> Frame:
        """Return the frame of the current request, or of the live update of ``path`` for ``seen_by``."""
        who = seen_by or viewer()
        shown = None if seen_by is not None or not who.is_operator else tenants_shown(who)
        return Frame(who, self.platform.clock.now(), path or request.path, live_page, shown, toast)

    async def counted(self, frame: Frame) -> Frame:
        """Return the frame with the numbers of its navigation."""
        who = frame.viewer
        counts = await self.nav_counts.read(who, who.tenant_id or frame.tenant)
        sole = None if counts is None else counts.sole_tenant
        banners = self._banners(who, who.tenant_id or frame.tenant, counts)
        return replace(frame, nav_counts=counts, banners=banners, sole_tenant=sole)

    async def live_nav_counts(self, seen_by: Viewer, tenant: str | None) -> list[LivePart]:
        """Return the banners and the numbers of the navigation as live parts; no numbers without Postgres."""
        counts = await self.nav_counts.recent(seen_by, seen_by.tenant_id or tenant)
        banners = self._banners(seen_by, seen_by.tenant_id or tenant, counts)
        frame = replace(self.frame(seen_by, path="/"), tenant=tenant, nav_counts=counts, banners=banners)
        parts = [LivePart("banners", self.templates.render("banners.html", frame=frame))]
        if counts is None:
            return parts
        return parts + [
            self._nav_count(id_of, entry, counts)
            for entry in (entry for group in NAVIGATION for entry in group.entries if entry.counted)
            for id_of in (("n", "b") if entry.alarming else ("n",))
        ]

    def _banners(self, who: Viewer, tenant: str | None, counts: NavCounts | None) -> tuple[Banner, ...]:
        platform = self.platform
        trouble = trouble_text(platform.health().causes())
        now, waits = platform.clock.now(), platform.notices_wait
        return banners_of(State(who, tenant, counts, trouble, not platform.clock.trusted, now, waits))

    def _nav_count(self, of: str, entry: NavEntry, counts: NavCounts) -> LivePart:
        """Return a number as a live part: ``n`` of the navigation, ``b`` of the phone's bar."""
        count = counts.beside(entry.path)
        html = self.templates.render("nav-count.html", id_of=of, path=entry.path, nav_count=count)
        return LivePart(f"{of}-{entry.path[1:]}", html, calm=not entry.alarming)


def see_other(where: str) -> Response:
    """Return a redirect to another page, after a successful form: 303."""
    return Response("", HTTPStatus.SEE_OTHER, {"Location": where})
