"""What operators do to a tenant as a whole: settings on a form; the rest is asked for, with its effect in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

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
from appliance.web.tenants.views import STRATEGIES, claim_page, zones

LEAST_RATE = 0.001
"""Messages a second; a limit nearer to nothing is a suspension."""
FIELDS = ("name", "time_zone", "provisioning", "rate", "burst", "tenant_rate", "version")


@dataclass(frozen=True, slots=True)
class TenantQuestion:
    """A step in words."""

    title: str
    effect: str
    button: str
    kind: str
    change: TenantChange | None
    """None: a new claim password."""


QUESTIONS: Mapping[str, TenantQuestion] = {
    "suspend": TenantQuestion(
        "Suspend {}?",
        "Its devices stay connected, but from now on what they send is refused, counted and not held for replay. "
        "Its people can still look.",
        "Suspend",
        "danger",
        TenantChange(status=TenantStatus.SUSPENDED),
    ),
    "resume": TenantQuestion(
        "Resume {}?",
        "Its messages are taken again from now on. What was refused meanwhile is gone.",
        "Resume",
        "primary",
        TenantChange(status=TenantStatus.ACTIVE),
    ),
    "open-claim": TenantQuestion(
        "Open the claim user of {}?",
        "Whoever has the claim password can announce new devices with it.",
        "Open",
        "primary",
        TenantChange(claim_enabled=True),
    ),
    "close-claim": TenantQuestion(
        "Close the claim user of {}?",
        "Devices that are connected with it are dropped, and no new device can announce itself. Devices with a "
        "credential of their own are not concerned.",
        "Close",
        "danger",
        TenantChange(claim_enabled=False),
    ),
    "rotate-claim": TenantQuestion(
        "Make a new claim password for {}?",
        "The old one is dead at once: devices that use it are dropped. Devices with a credential of their own are not "
        "concerned. The new password is shown once.",
        "Make new password",
        "danger",
        None,
    ),
}


def blueprint(renderer: PageRenderer, actions: TenantActions) -> Blueprint:
    """Two routes a step, its question and the step itself; and two for the settings."""
    routes = Blueprint("tenant_steps", __name__)
    steps = TenantLifecycleViews(renderer, actions)
    for step in QUESTIONS:
        path = f"/tenants/<tenant_id>/{step}"
        routes.get(path, endpoint=f"ask_{step}")(allow(OPERATORS)(partial(steps.ask, step)))
        routes.post(path, endpoint=f"take_{step}")(allow(OPERATORS)(partial(steps.take, step)))
    _settings(routes, renderer, actions)
    return routes


class TenantLifecycleViews:
    """The questions, and what becomes of their answers."""

    def __init__(self, renderer: PageRenderer, actions: TenantActions) -> None:
        self._renderer = renderer
        self._actions = actions

    async def ask(self, step: str, tenant_id: str) -> Response:
        """The question before a step."""
        tenant = (await self._actions.get(tenant_of_path(tenant_id))).tenant
        question = QUESTIONS[step]
        title = question.title.format(tenant.title)
        return await self._renderer.page("tenants/step.html", tenant=tenant, step=step, question=question, title=title)

    async def take(self, step: str, tenant_id: str) -> Response:
        """The step, taken."""
        tenant_id, change = tenant_of_path(tenant_id), QUESTIONS[step].change
        if change is None:
            return await claim_page(self._renderer, await self._actions.rotate_claim(tenant_id))
        arrival = await self._actions.change(tenant_id, change)
        return see_other(f"/tenants/{tenant_id}?done={'pending' if arrival is SyncStatus.PENDING else step}")


def _settings(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    async def page(
        tenant: Tenant, given: Mapping[str, str], fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        return await renderer.page(
            "tenants/edit.html",
            status=status,
            tenant=tenant,
            given=given,
            fault=fault,
            zones=zones(),
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
    """What the form asks for. Raises Invalid, naming the field."""
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
