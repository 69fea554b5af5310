"""Tenants, for operators: add, suspend and resume them, and say how their new devices get in."""

from dataclasses import dataclass
from http import HTTPStatus
from zoneinfo import available_timezones

from quart import Blueprint, Response, request

from appliance.devices.tenants import Strategy
from appliance.errors import Conflict, Invalid
from appliance.web import forms
from appliance.web.api.tenants import tenant_of_path
from appliance.web.auth import OPERATORS, allow
from appliance.web.pages.profile import Fault, fault_of
from appliance.web.site import Site, see_other
from appliance.web.tenant_desk import HandedClaim, TenantDesk

DONE = {
    "suspended": "The tenant is suspended: its messages are refused.",
    "resumed": "The tenant's messages are taken again.",
    "provisioning": "It is decided what becomes of new devices.",
    "claim-on": "The claim user may come in.",
    "claim-off": "The claim user is shut out.",
}
STRATEGIES = (
    (Strategy.AUTO, "Take them, while there is a free seat"),
    (Strategy.APPROVE, "Hold their messages until somebody approves them"),
    (Strategy.OFF, "Refuse them"),
)


@dataclass(frozen=True, slots=True)
class TenantForm:
    """What was typed for a new tenant."""

    tenant_id: str = ""
    name: str = ""
    time_zone: str = "UTC"
    provisioning: Strategy = Strategy.AUTO


def blueprint(site: Site) -> Blueprint:
    """The routes of the pages."""
    routes = Blueprint("tenants", __name__)
    desk = TenantDesk(site.services)
    _list(routes, site, desk)
    _new(routes, site, desk)
    _one(routes, site, desk)
    return routes


def _list(routes: Blueprint, site: Site, desk: TenantDesk) -> None:
    @routes.get("/tenants")
    @allow(OPERATORS)
    async def tenants() -> Response:
        search = request.args.get("q", "").strip().lower()
        found = await desk.list_all()
        shown = [
            tenant for tenant in found if search in tenant.tenant_id.lower() or search in (tenant.name or "").lower()
        ]
        return site.page("pages/tenants.html", tenants=shown, total=len(found))


def _new(routes: Blueprint, site: Site, desk: TenantDesk) -> None:
    zones = [(zone, zone) for zone in sorted(available_timezones() - {"localtime"})]

    def page(given: TenantForm, fault: Fault | None = None) -> Response:
        status = HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK
        return site.page(
            "pages/tenant-new.html", status=status, given=given, fault=fault, zones=zones, strategies=STRATEGIES
        )

    @routes.get("/tenants/new")
    @allow(OPERATORS)
    async def new() -> Response:
        return page(TenantForm())

    @routes.post("/tenants/new")
    @allow(OPERATORS)
    async def add() -> Response:
        fields, given = await forms.read(), TenantForm()
        try:
            given = TenantForm(
                fields.text("tenant_id"),
                fields.text("name", most=128),
                fields.text("time_zone"),
                fields.choice("provisioning", Strategy, Strategy.AUTO),
            )
            made = await desk.add(given.tenant_id, given.name, given.time_zone, given.provisioning)
        except Invalid as error:
            return page(given, fault_of(error))
        except Conflict as error:
            return page(given, ("tenant_id", str(error)))
        return _claim(site, made, HTTPStatus.CREATED)


def _one(routes: Blueprint, site: Site, desk: TenantDesk) -> None:
    @routes.get("/tenants/<tenant_id>")
    @allow(OPERATORS)
    async def show(tenant_id: str) -> Response:
        tenant = await desk.get(tenant_of_path(tenant_id))
        return site.page("pages/tenant.html", done=DONE, tenant=tenant, strategies=STRATEGIES)

    @routes.post("/tenants/<tenant_id>/<any(suspend, resume):step>")
    @allow(OPERATORS)
    async def step(tenant_id: str, step: str) -> Response:
        tenant_id = tenant_of_path(tenant_id)
        await (desk.suspend(tenant_id) if step == "suspend" else desk.resume(tenant_id))
        return see_other(f"/tenants/{tenant_id}?done={'suspended' if step == 'suspend' else 'resumed'}")

    @routes.post("/tenants/<tenant_id>/provisioning")
    @allow(OPERATORS)
    async def provisioning(tenant_id: str) -> Response:
        tenant_id = tenant_of_path(tenant_id)
        await desk.set_provisioning(tenant_id, (await forms.read()).choice("provisioning", Strategy))
        return see_other(f"/tenants/{tenant_id}?done=provisioning")

    @routes.post("/tenants/<tenant_id>/claim")
    @allow(OPERATORS)
    async def claim(tenant_id: str) -> Response:
        tenant_id, enabled = tenant_of_path(tenant_id), (await forms.read()).flag("enabled")
        await desk.set_claim(tenant_id, enabled=enabled)
        return see_other(f"/tenants/{tenant_id}?done={'claim-on' if enabled else 'claim-off'}")

    @routes.post("/tenants/<tenant_id>/rotate-claim")
    @allow(OPERATORS)
    async def rotate_claim(tenant_id: str) -> Response:
        return _claim(site, await desk.rotate_claim(tenant_of_path(tenant_id)))


def _claim(site: Site, made: HandedClaim, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """The claim user's secrets, this once."""
    return site.page("pages/tenant-claim.html", status=status, claim=made.claim, arrival=made.arrival)
