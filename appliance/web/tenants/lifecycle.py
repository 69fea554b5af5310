"""Pages that change a tenant: the form of its settings, and a question with its effect before each other step."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

from appliance import zones
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.device import MAX_TEXT
from appliance.devices.tenants import MAX_RATE, MAX_TENANT_RATE, Strategy, Tenant, TenantStatus
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields, version
from appliance.web.page.paths import tenant_of_path
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.tenants.actions import TenantActions, TenantChange
from appliance.web.tenants.views import STRATEGIES, claim_page

LEAST_RATE = 0.001
"""Messages a second; to allow less, suspend the tenant."""
FIELDS = ("name", "time_zone", "provisioning", "rate", "burst", "tenant_rate", "version")


@dataclass(frozen=True, slots=True)
class TenantQuestion:
    """The question before a step."""

    title: str
    effect: str
    button: str
    kind: str
    change: TenantChange | None
    """None: the step is a new claim password."""


QUESTIONS: Mapping[str, TenantQuestion] = {
    "suspend": TenantQuestion(
        "Suspend {}?",
        "Its devices stay connected, but from now on what they send is refused and counted; a sample of it is kept in "
        "Quarantine, none is held for replay. What is held already stays held. Its users can still sign in and view "
        "data.",
        "Suspend",
        "danger",
        TenantChange(status=TenantStatus.SUSPENDED),
    ),
    "resume": TenantQuestion(
        "Resume {}?",
        "Its messages are accepted again. Those refused in the meantime are lost, but for a sample in Quarantine.",
        "Resume",
        "primary",
        TenantChange(status=TenantStatus.ACTIVE),
    ),
    "open-claim": TenantQuestion(
        "Open the claim user of {}?",
        "Anyone with the claim password can register new devices with it.",
        "Open",
        "primary",
        TenantChange(claim_enabled=True),
    ),
    "close-claim": TenantQuestion(
        "Close the claim user of {}?",
        "Devices that are connected with it are disconnected, and no new device can register itself. Devices with a "
        "credential of their own are not affected.",
        "Close",
        "danger",
        TenantChange(claim_enabled=False),
    ),
    "rotate-claim": TenantQuestion(
        "Create a new claim password for {}?",
        "The old one stops working at once: devices that use it are disconnected. Devices with a credential of their "
        "own are not affected. The new password is shown once.",
        "Create password",
        "danger",
        None,
    ),
}


def blueprint(renderer: PageRenderer, actions: TenantActions) -> Blueprint:
    """Return two routes for each step, its question and the step itself, and two for the settings."""
    routes = Blueprint("tenant_steps", __name__)
    steps = TenantLifecycleViews(renderer, actions)
    for step in QUESTIONS:
        path = f"/tenants/<tenant_id>/{step}"
        routes.get(path, endpoint=f"ask_{step}")(allow(OPERATORS)(partial(steps.ask, step)))
        routes.post(path, endpoint=f"take_{step}")(allow(OPERATORS)(partial(steps.take, step)))
    _add_settings(routes, renderer, actions)
    return routes


class TenantLifecycleViews:
    """The questions before steps, and the steps."""

    def __init__(self, renderer: PageRenderer, actions: TenantActions) -> None:
        self._renderer = renderer
        self._actions = actions

    async def ask(self, step: str, tenant_id: str) -> Response:
        """Return the question before a step."""
        tenant = (await self._actions.get(tenant_of_path(tenant_id))).tenant
        question = QUESTIONS[step]
        title = question.title.format(tenant.title)
        return await self._renderer.page("tenants/step.html", tenant=tenant, step=step, question=question, title=title)

    async def take(self, step: str, tenant_id: str) -> Response:
        """Take the step."""
        tenant_id, change = tenant_of_path(tenant_id), QUESTIONS[step].change
        if change is None:
            return await claim_page(self._renderer, await self._actions.rotate_claim(tenant_id))
        sync_status = await self._actions.change(tenant_id, change)
        return see_other(f"/tenants/{tenant_id}?done={'pending' if sync_status is SyncStatus.PENDING else step}")


def _add_settings(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    async def page(
        tenant: Tenant, given: Mapping[str, str], fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        return await renderer.page(
            "tenants/edit.html",
            status=status,
            tenant=tenant,
            given=given,
            fault=fault,
            zones=zones.choices_with(tenant.time_zone),
            strategies=STRATEGIES,
        )

    @routes.get("/tenants/<tenant_id>/edit")
    @allow(OPERATORS)
    async def edit(tenant_id: str) -> Response:
        tenant = (await actions.get(tenant_of_path(tenant_id))).tenant
        return await page(tenant, _given_of(tenant))

    @routes.post("/tenants/<tenant_id>/edit")
    @allow(OPERATORS)
    async def save(tenant_id: str) -> Response:
        fields, tenant = await forms.read(), (await actions.get(tenant_of_path(tenant_id))).tenant
        try:
            await actions.change(tenant_id, _wanted(fields))
        except Invalid as error:
            return await page(tenant, _given(fields), fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await page(tenant, _given(fields), fault_of(error), HTTPStatus.CONFLICT)
        return see_other(f"/tenants/{tenant_id}?done=changed")


def _wanted(fields: Fields) -> TenantChange:
    """Return the change that the form asks for. Raises Invalid, which names the field."""
    return TenantChange(
        name=fields.text("name", most=MAX_TEXT) or None,
        time_zone=fields.needed("time_zone", "Choose a time zone.", most=64),
        provisioning=fields.choice("provisioning", Strategy),
        rate=fields.number("rate", least=LEAST_RATE, most=MAX_RATE),
        burst=fields.whole("burst", least=1, most=int(MAX_RATE)),
        tenant_rate=fields.number("tenant_rate", least=0, most=MAX_TENANT_RATE),
        version=version(fields),
    )


def _given(fields: Fields) -> dict[str, str]:
    return {name: fields.typed(name) for name in FIELDS}


def _given_of(tenant: Tenant) -> dict[str, str]:
    limits = tenant.limits
    texts = {
        "name": tenant.name,
        "time_zone": tenant.time_zone,
        "provisioning": tenant.provisioning.value,
        "rate": None if limits.rate is None else f"{limits.rate:.10g}",
        "burst": limits.burst,
        "tenant_rate": None if limits.tenant_rate is None else f"{limits.tenant_rate:.10g}",
        "version": tenant.version.isoformat(),
    }
    return {name: "" if text is None else str(text) for name, text in texts.items()}
