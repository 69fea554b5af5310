"""The one page of routes: their list in order of priority, and the editor beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from uuid import UUID

from quart import Response, request

from appliance import zones
from appliance.delivery.integrations.store import KnownIntegration
from appliance.delivery.routes.route import DeliverOn
from appliance.delivery.routes.store import KnownRoute
from appliance.devices import sites as site_store
from appliance.errors import Conflict, Invalid
from appliance.severity import Severity
from appliance.web.access.auth import may_change, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.alerts.labels import ALERT_TYPES, SEVERITIES
from appliance.web.http.forwarding import own_url
from appliance.web.integrations.actions import IntegrationActions
from appliance.web.integrations.labels import answered, meaning, took
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.live_address import live_name
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer
from appliance.web.routes import form, listing, log, preview
from appliance.web.routes.actions import RouteActions
from appliance.web.routes.form import Given
from appliance.web.routes.listing import PATH, RouteList, at
from appliance.web.routes.preview import GLYPHS, ShownPreview

MAX_SITES = 1000
"""Sites to choose from."""
DONE = {
    "created": "The route is saved.",
    "saved": "The route is saved.",
    "deleted": "The route is deleted.",
    "on": "The route is on.",
    "off": "The route is off. What it has not delivered yet is skipped.",
}
NAMELESS = "New route"
"""Stands for a name that is not typed yet, in a preview."""


@dataclass(frozen=True, slots=True)
class SampleNote:
    """How a sample went, in a sentence."""

    delivered: bool
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows beside the list."""

    known: KnownRoute | None = None
    """The route whose form it is; None: a new one, or none."""
    given: Given | None = None
    fault: Fault | None = None
    preview: ShownPreview | None = None
    sample: SampleNote | None = None


class RoutePages:
    """Renders the page for the current viewer."""

    def __init__(self, renderer: PageRenderer, routes: RouteActions, integrations: IntegrationActions) -> None:
        self.routes = routes
        self.integrations = integrations
        self._renderer = renderer

    async def preview(self, given: Given, known: KnownRoute | None) -> ShownPreview:
        """Return what the form would have taken, or what keeps it from being said."""
        try:
            draft = form.draft_of(given)
            draft = replace(draft, name=draft.name.strip() or NAMELESS)
            return preview.shown(await self.routes.preview(draft, None if known is None else known.route.route_id))
        except Invalid as error:
            return ShownPreview(problem=_plain(str(error)))

    async def sample(self, given: Given) -> SampleNote:
        """Send a sample to the integration that is chosen. Raises NotFound."""
        platform = self.routes.platform
        url = own_url(platform.public_url)
        try:
            tested = await self.integrations.test(given.get("integration_id"), url)
        except Conflict as error:
            return SampleNote(False, "No sample was sent.", str(error))
        outcome = tested.outcome
        delivered = outcome.verdict.value == "delivered"
        title = "Delivered" if delivered else answered(outcome) or "Not delivered"
        return SampleNote(delivered, f"{title} after {took(outcome)}.", meaning(outcome))

    async def refused(self, shown: Shown, error: Invalid | Conflict) -> Response:
        """Return the page with the form as given, and what is wrong with it."""
        field, text = fault_of(error)
        status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
        return await self.show(replace(shown, fault=(form.place_of(field), _plain(text))), status)

    async def show(
        self, shown: Shown, status: HTTPStatus = HTTPStatus.OK, integration_id: UUID | None = None
    ) -> Response:
        """Return the page."""
        who = viewer()
        senders = self.integrations.senders
        tenant_id, after, platform = tenants_shown(), request.args.get("cursor", ""), self.routes.platform
        listed = await listing.read(platform, senders, after, who, tenant_id, integration_id)
        editing = shown.given is not None
        opened = None if shown.known is None else shown.known.route
        async with platform.access.reading() as connection:
            told = await log.read(connection, tenant_id, opened, who, platform.access.now())
        of_route = "" if opened is None else str(opened.route_id)
        return await self._renderer.page(
            "routes/list.html",
            status=status,
            done=DONE,
            live_page=live_name("routes", who, tenant_id, cursor=after, route=of_route),
            live=False,
            listed=listed,
            log=told,
            shown=shown,
            order=[(one, GLYPHS[one], SEVERITIES[one]) for one in Severity],
            choices=await self._choices(shown, listed) if editing else None,
            action=of_tenant(f"{PATH}/+new", who, tenants_shown()) if shown.known is None else at(shown.known),
            delete="" if shown.known is None else at(shown.known, "/delete"),
            back=of_tenant(PATH, who, tenants_shown()),
            may_change=may_change(who),
        )

    async def _choices(self, shown: Shown, listed: RouteList) -> dict[str, list[tuple[str, str]]]:
        """Return what the form offers to choose; what is chosen stays, also where it is gone by now."""
        given, tenant_id = shown.given or Given(), tenant_of()
        async with self._renderer.platform.access.reading() as connection:
            sites = await site_store.list_page(connection, tenant_id, limit=MAX_SITES)
        integrations = [
            (str(one.integration.integration_id), self._title(one))
            for one in listed.integrations
            if one.integration.tenant_id == tenant_id
        ]
        return {
            "integrations": _with(integrations, [given.get("integration_id")], "gone"),
            "sites": _with([(one.site.site_id, one.site.title) for one in sites], given.all("site_ids"), "removed"),
            "types": _with([(one.value, ALERT_TYPES[one]) for one in ALERT_TYPES], given.all("alert_types"), "unknown"),
            "steps": [(one.value, listing.STEPS[one]) for one in DeliverOn],
            "zones": [("", "The organisation's zone"), *zones.choices_with(given.get("quiet_zone"))],
            "units": [(unit, unit) for unit in form.UNITS],
        }

    def _title(self, one: KnownIntegration) -> str:
        sender = self.integrations.senders.get(one.integration.type)
        off = "" if one.integration.enabled else ", off"
        return f"{one.integration.name} ({sender.label if sender else one.integration.type}{off})"


def _with(known: list[tuple[str, str]], chosen: Sequence[str], gone: str) -> list[tuple[str, str]]:
    """Return choices with those that are chosen and not among them."""
    there = {value for value, _ in known}
    return known + [(value, f"{value[:64]} ({gone})") for value in chosen if value and value not in there]


def _plain(text: str) -> str:
    """Return what is wrong without the name of the field, which the form shows beside it."""
    name, mark, rest = text.partition("`: ")
    text = rest if mark and name.startswith("`") else text
    return text[:1].upper() + text[1:]
