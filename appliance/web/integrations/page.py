"""The one page of integrations: their list, with what is opened in it, and the form beside it."""

from dataclasses import dataclass, replace
from http import HTTPStatus

from quart import Response, request

from appliance.delivery.integrations.drafts import IntegrationDraft
from appliance.delivery.integrations.store import KnownIntegration
from appliance.delivery.senders.sender import Sender
from appliance.errors import Busy, Conflict, Invalid
from appliance.web.access.auth import may_change, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.http.forwarding import own_url
from appliance.web.integrations import form, labels, listing
from appliance.web.integrations.actions import IntegrationActions, Made
from appliance.web.integrations.form import Controls, Given
from appliance.web.integrations.labels import Allowing
from appliance.web.integrations.listing import PATH, ShownTest, at
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.live_address import live_name
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer

DONE = {
    "created": "The integration is saved.",
    "saved": "The integration is saved.",
    "deleted": "The integration is deleted.",
    "on": "The integration is on.",
    "off": "The integration is off. What is due waits until it is on again.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows beside the list."""

    known: KnownIntegration | None = None
    """The integration whose form it is; None: a new one, or none."""
    sender: Sender | None = None
    given: Given | None = None
    fault: Fault | None = None
    allowing: Allowing | None = None
    """What would allow the destination that was refused."""
    made: Made | None = None
    """What was just written, with secrets that are shown once."""
    done: str = ""
    test_of: str = ""
    """The id of the integration that a sample was sent to."""
    test: ShownTest | None = None
    problem: str = ""
    """Why no sample was sent."""

    trial: ShownTest | None = None
    """How a sample went that was sent by what is typed, and not saved."""
    trial_problem: str = ""
    """Why none was sent."""

    def failing(self, problem: str) -> "Shown":
        """Return the same with the reason why no sample was sent."""
        return replace(self, problem=problem)


class IntegrationPages:
    """Renders the page for the current viewer."""

    def __init__(self, renderer: PageRenderer, integrations: IntegrationActions) -> None:
        self.integrations = integrations
        self._renderer = renderer

    async def opened(self, integration_id: str) -> Shown:
        """Return an integration with its form. Raises NotFound."""
        known = await self.integrations.get(integration_id)
        sender = self.integrations.senders.get(known.integration.type)
        return Shown(known, sender, None if sender is None else form.filled(known.integration, sender))

    async def tested(self, integration_id: str, shown: Shown) -> Shown:
        """Send a sample. Raises NotFound; Conflict, Busy if none can be sent now."""
        platform = self.integrations.platform
        sent = platform.clock.now()
        url = own_url(platform.public_url)
        tested = await self.integrations.test(integration_id, url)
        return replace(shown, test_of=integration_id.lower(), test=listing.shown_test(tested, sent))

    async def tried(self, shown: Shown, draft: IntegrationDraft) -> Shown:
        """Send a sample by what is typed. Raises NotFound; Invalid with the field; Conflict, Busy as a saved one."""
        platform = self.integrations.platform
        sent = platform.clock.now()
        url = own_url(platform.public_url)
        identity = None if shown.known is None else str(shown.known.integration.integration_id)
        kind = "" if shown.sender is None else shown.sender.type
        tested = await self.integrations.try_out(identity, kind, draft, url)
        return replace(shown, trial=listing.shown_test(tested, sent))

    def not_tried(self, shown: Shown, error: Invalid | Conflict | Busy) -> Shown:
        """Return the form with the reason why no sample was sent."""
        field, text = ("", str(error)) if isinstance(error, Busy) else fault_of(error)
        text = text.partition("`: ")[2] or text if text.startswith("`") else text
        name = field.removeprefix("secrets.").removeprefix("config.")
        fields = () if shown.sender is None else shown.sender.fields
        label = next((f"{one.label}: " for one in fields if one.name == name), "")
        problem = f"{label}{labels.plain(text)}."
        return replace(shown, trial_problem=problem, allowing=labels.allowing(str(error)))

    async def refused(self, shown: Shown, error: Invalid | Conflict) -> Response:
        """Return the page with the form as given, and what is wrong with it."""
        field, text = fault_of(error)
        text = text.partition("`: ")[2] or text if text.startswith("`") else text
        named = field.removeprefix("secrets.").removeprefix("config.")
        fault = (named, f"{labels.plain(text)}.")
        status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
        return await self.show(replace(shown, fault=fault, allowing=labels.allowing(str(error))), status)

    async def show(self, shown: Shown, status: HTTPStatus = HTTPStatus.OK) -> Response:
        """Return the page."""
        who = viewer()
        tenant_id, after = tenants_shown(), request.args.get("cursor", "")
        listed = await listing.read(self.integrations, after, who, tenant_id)
        return await self._renderer.page(
            "integrations/list.html",
            status=status,
            done=DONE,
            live_page=live_name("integrations", who, tenant_id, cursor=after),
            live=False,
            listed=listed,
            shown=shown,
            controls=self._controls(shown),
            types=[(one.type, one.label, one.icon) for one in self.integrations.senders.values()],
            fields={} if shown.sender is None else {one.name: one.label for one in shown.sender.fields},
            action=of_tenant(f"{PATH}/+new", who, tenants_shown()) if shown.known is None else at(shown.known),
            delete="" if shown.known is None else at(shown.known, "/delete"),
            back=of_tenant(PATH, who, tenants_shown()),
            may_change=may_change(who),
        )

    def _controls(self, shown: Shown) -> Controls | None:
        if shown.sender is None or shown.given is None:
            return None
        kept = None if shown.known is None else shown.known.integration
        return form.controls(shown.sender, shown.given, kept)
