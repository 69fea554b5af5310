"""Pages of tenants for operators: the list, the form for a new one, and the page of each."""

from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance import local_time, zones
from appliance.devices.device import MAX_TEXT
from appliance.devices.tenants import Strategy, TenantStatus
from appliance.errors import Conflict, Invalid
from appliance.offboarding import deletion
from appliance.people import audit_query
from appliance.people.audit_query import AuditFilter
from appliance.web.access.auth import OPERATORS, allow, viewer
from appliance.web.audit.labels import entry_of
from appliance.web.page import cursor, forms
from appliance.web.page.csv import asked_for
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import tenant_of_path
from appliance.web.page.renderer import PageRenderer
from appliance.web.subscriptions import labels
from appliance.web.tenants import export
from appliance.web.tenants.actions import ClaimResult, TenantActions

PAGE_ROWS = 50
RECENT = 5
"""Changes that a tenant's page shows."""
MAX_SEARCH = 200

DONE = {
    "changed": "The tenant is saved.",
    "suspend": "The tenant is suspended: its messages are refused.",
    "resume": "The tenant is resumed: its messages are accepted again.",
    "open-claim": "The claim user is open.",
    "close-claim": "The claim user is closed.",
    "pending": "Saved. The broker applies it within a minute.",
    "sold": "The subscription is active.",
    "subscription": "The subscription is saved.",
}
STRATEGIES = (
    (Strategy.AUTO, "Accept automatically while a seat is free"),
    (Strategy.APPROVE, "Hold messages until approved"),
    (Strategy.OFF, "Refuse"),
)
STATUSES = (
    (TenantStatus.ACTIVE, "Active"),
    (TenantStatus.SUSPENDED, "Suspended"),
    (TenantStatus.DELETING, "Being deleted"),
)
NEW_DEVICES = {
    Strategy.AUTO: "Accepted automatically",
    Strategy.APPROVE: "Held for approval",
    Strategy.OFF: "Refused",
}
"""What happens to messages of unknown devices."""


@dataclass(frozen=True, slots=True)
class TenantForm:
    """The fields of the form for a new tenant."""

    tenant_id: str = ""
    name: str = ""
    time_zone: str = "UTC"
    provisioning: Strategy = Strategy.AUTO


def blueprint(renderer: PageRenderer, actions: TenantActions) -> Blueprint:
    """Return the routes of the pages of tenants."""
    routes = Blueprint("tenants", __name__)
    _add_list(routes, renderer, actions)
    _add_new(routes, renderer, actions)
    _add_tenant(routes, renderer, actions)
    return routes


async def claim_page(renderer: PageRenderer, made: ClaimResult, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return the page with the claim user's password, which is shown only once."""
    return await renderer.page("tenants/claim.html", status=status, claim=made.claim, sync_status=made.sync_status)


def _add_list(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    @routes.get("/tenants")
    @allow(OPERATORS)
    async def tenants() -> Response:
        search, status = _search(), _status()
        if asked_for():
            return export.answer(renderer.platform, viewer(), search, status)
        after = cursor.read(request.args.get("cursor"), str)
        page, next_id = await actions.list_page(search=search, status=status, limit=PAGE_ROWS, after=after)
        return await renderer.page(
            "tenants/list.html",
            done=DONE,
            overviews=page,
            next=cursor.write(next_id),
            statuses=STATUSES,
            new_devices=NEW_DEVICES,
        )


def _add_new(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    async def page(given: TenantForm, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK) -> Response:
        return await renderer.page(
            "tenants/new.html",
            status=status,
            given=given,
            fault=fault,
            zones=zones.choices_with(None),
            strategies=STRATEGIES,
        )

    @routes.get("/tenants/+new")
    @allow(OPERATORS)
    async def new() -> Response:
        return await page(TenantForm())

    @routes.post("/tenants/+new")
    @allow(OPERATORS)
    async def add() -> Response:
        fields, given = await forms.read(), TenantForm()
        try:
            given = TenantForm(
                fields.text("tenant_id", most=64),
                fields.text("name", most=MAX_TEXT),
                fields.text("time_zone", most=64),
                fields.choice("provisioning", Strategy, Strategy.AUTO),
            )
            made = await actions.add(given.tenant_id, given.name, given.time_zone, given.provisioning)
        except Invalid as error:
            return await page(given, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await page(given, fault_of(error, "tenant_id"), HTTPStatus.CONFLICT)
        return await claim_page(renderer, made, HTTPStatus.CREATED)


def _add_tenant(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    @routes.get("/tenants/<tenant_id>")
    @allow(OPERATORS)
    async def show(tenant_id: str) -> Response:
        access = renderer.platform.access
        overview = await actions.get(tenant_of_path(tenant_id))
        async with access.reading() as connection:
            recent = await audit_query.read(connection, AuditFilter(tenant_id=tenant_id), RECENT)
            deletion_id = await deletion.under_way(connection, tenant_id)
            names = await audit_query.names(connection, recent)
        zone = local_time.zone_of(overview.tenant.time_zone)
        return await renderer.page(
            "tenants/tenant.html",
            done=DONE,
            overview=overview,
            tenant=overview.tenant,
            deletion_id=deletion_id,
            subscriptions=labels.subscription_labels(
                overview.subscriptions, access.settled(), zone, renderer.platform.renewals
            ),
            recent=[entry_of(row, viewer().zone, names) for row in recent],
            strategies=dict(STRATEGIES),
            new_devices=NEW_DEVICES,
        )


def _search() -> str:
    search = request.args.get("q", "").strip()
    if len(search) > MAX_SEARCH or "\0" in search:
        raise Invalid(f"`q` has at most {MAX_SEARCH} characters, without control characters.", "q")
    return search


def _status() -> TenantStatus | None:
    text = request.args.get("status", "")
    try:
        return TenantStatus(text) if text else None
    except ValueError:
        raise Invalid(f"`status` is one of {', '.join(TenantStatus)}.", "status") from None
