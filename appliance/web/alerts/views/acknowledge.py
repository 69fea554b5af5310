"""The page behind the link of a notice: one alert and one button, without signing in. Opening it changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from http import HTTPStatus
from uuid import UUID

from quart import Blueprint, Response, request

from appliance import local_time
from appliance.alerts import actions
from appliance.alerts.actions import STATEMENT_TIMEOUT_MS, AskedStep
from appliance.alerts.lifecycle import AlertStep
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.delivery.links.acknowledge_link import (
    LINK_HOURS,
    AcknowledgeLink,
    AcknowledgeLinks,
    LinkEnd,
    LinkState,
    state_of,
)
from appliance.errors import Conflict, NotFound
from appliance.people.role import Role, Theme
from appliance.web.access.auth import SIGN_IN_PAGES, Viewer, allow
from appliance.web.alerts.views import limits, page_query
from appliance.web.alerts.views.opened import OpenedAlert, open_alert
from appliance.web.page import formats
from appliance.web.page.public import PublicPages
from appliance.web.page.renderer import PageRenderer, see_other

RECEIVER = UUID(int=0)
"""Whoever has the link: no user."""


@dataclass(frozen=True, slots=True)
class LinkPage:
    """What the page shows of a link that names an alert."""

    found: OpenedAlert
    where: Sequence[str]
    """Name and place of the device, and its site."""
    integration: str
    since: str
    """When it opened."""
    until: str
    """Until when the link works."""
    done: str
    """Who acknowledged it by this link, and when; empty while nobody has."""
    clears: str
    """What ends the alert; empty if it is not known."""


def blueprint(renderer: PageRenderer, links: AcknowledgeLinks, retention: timedelta) -> Blueprint:
    """Return the routes of the page."""
    routes = Blueprint("acknowledge", __name__)
    page = _AcknowledgePage(renderer, links, retention)

    @routes.get("/acknowledge/<token>")
    @allow(SIGN_IN_PAGES)
    async def show(token: str) -> Response:
        return await page.show(token)

    @routes.post("/acknowledge/<token>")
    @allow(SIGN_IN_PAGES)
    async def press(token: str) -> Response:
        return await page.press(token)

    return routes


class _AcknowledgePage:
    def __init__(self, renderer: PageRenderer, links: AcknowledgeLinks, retention: timedelta) -> None:
        self._access = renderer.platform.access
        self._pages = PublicPages(renderer.platform, renderer.templates)
        self._links = links
        self._retention = retention

    async def show(self, token: str) -> Response:
        link = self._links.read(token)
        if link is None:
            return self._over(None, "This link is not complete, or was not made by this appliance.")
        who, now = _receiver(link.tenant_id), self._access.now()
        async with self._access.reading(who) as connection:
            state = await state_of(connection, link, now=now)
            if state is None:
                return self._over(None, "The alert was deleted.")
            done = request.args.get("done") == "1" and state.ended is LinkEnd.ACKNOWLEDGED
            one = await page_query.read_alert(connection, link.alert_id, link.tenant_id)
            around = await page_query.read_surroundings(connection, one.alert, now)
            who = replace(who, zone=local_time.zone_of(around.time_zone))
            if state.ended is not None and not done:
                return self._over(link, ending(state, now, who.zone))
            settled = self._access.settled()
            found = await open_alert(connection, one, who, now=now, settled=settled, retention=self._retention)
        shown = LinkPage(
            found=found,
            where=_where(found),
            integration=state.integration,
            since=formats.moment_of(one.alert.started_at.timestamp(), now.timestamp(), who.zone),
            until=formats.absolute(link.expires, who.zone),
            done=acknowledgement(state, who.zone) if done else "",
            clears=limits.clearing(one.parameters, found.chart.metric if found.chart else None),
        )
        return self._pages.show("alerts/acknowledge.html", page=shown, href=f"/alerts/{link.alert_id}")

    async def press(self, token: str) -> Response:
        """Acknowledge the alert, if the link permits that; the page says what came of it."""
        link = self._links.read(token)
        if link is None:
            return await self.show(token)
        try:
            pressed = await self._acknowledge(link)
        except (Conflict, NotFound) as error:
            return self._over(link, str(error))
        return see_other(f"/acknowledge/{token}?done=1") if pressed else await self.show(token)

    async def _acknowledge(self, link: AcknowledgeLink) -> bool:
        """Acknowledge the alert; return False when the link permits it no more.

        Raises Conflict and NotFound as :func:`appliance.alerts.actions.take` does.
        """
        access = self._access
        async with (
            access.changing(_receiver(link.tenant_id)) as connection,
            actions.bounded(connection, STATEMENT_TIMEOUT_MS),
        ):
            state = await state_of(connection, link, now=access.now())
            if state is None or state.ended is not None:
                return False
            actor = Actor(state.integration, ActorKind.INTEGRATION, request.remote_addr)
            context = ChangeContext(actor, access.now(), access.settled(), None)
            await actions.take(connection, link.tenant_id, link.alert_id, AskedStep(AlertStep.ACKNOWLEDGE), context)
        return True

    def _over(self, link: AcknowledgeLink | None, why: str) -> Response:
        href = "/alerts" if link is None else f"/alerts/{link.alert_id}"
        status = HTTPStatus.NOT_FOUND if link is None else HTTPStatus.GONE
        return self._pages.show("alerts/link-over.html", status, why=why, hours=LINK_HOURS, href=href)


def ending(state: LinkState, now: datetime, zone: tzinfo | None) -> str:
    """Return why a link permits nothing any more, in a sentence."""
    at = "" if state.at is None else f" at {formats.moment_of(state.at.timestamp(), now.timestamp(), zone)}"
    match state.ended:
        case LinkEnd.ACKNOWLEDGED:
            return f"The alert was acknowledged{at}, by {state.by or 'the appliance'}."
        case LinkEnd.CLOSED:
            return f"The alert closed{at}."
        case LinkEnd.CHANGED:
            return "The integration that it was sent to has changed since."
        case _:
            return f"It was sent more than {LINK_HOURS} hours ago."


def acknowledgement(state: LinkState, zone: tzinfo | None) -> str:
    """Return who acknowledged the alert by the link, and when."""
    at = "" if state.at is None else f", {formats.clock_time(state.at.timestamp(), zone)}"
    return f"the receiver of {state.by or state.integration}{at}"


def _receiver(tenant_id: str) -> Viewer:
    """Return whoever has the link as a viewer of its tenant, for row-level security."""
    return Viewer(RECEIVER, "", "", Role.VIEWER, tenant_id, None, Theme.SYSTEM, None, "")


def _where(found: OpenedAlert) -> list[str]:
    named = ", ".join(text for text in (found.one.device, found.one.place) if text)
    return [text for text in (named, found.one.site) if text]
