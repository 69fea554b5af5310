"""Tenants, for operators: listed, added, and each on a page of its own."""

from dataclasses import dataclass
from http import HTTPStatus
from zoneinfo import ZoneInfo

from quart import Blueprint, Response, request

from appliance.devices import sites
from appliance.devices.device import MAX_TEXT
from appliance.devices.tenants import Strategy, TenantStatus
from appliance.errors import Conflict, Invalid
from appliance.people import audit_query
from appliance.people.audit_query import AuditFilter
from appliance.web.access.auth import OPERATORS, allow, viewer
from appliance.web.audit.query import audit_entry_of
from appliance.web.page import cursor, forms, list_files
from appliance.web.page.csv import asked_for
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import tenant_of_path
from appliance.web.page.renderer import PageRenderer
from appliance.web.subscriptions import labels
from appliance.web.tenants.actions import ClaimResult, TenantActions

PAGE_ROWS = 50
RECENT = 5
"""Changes that a tenant's page shows."""
MAX_SEARCH = 200

DONE = {
    "changed": "The tenant is saved.",
    "suspend": "The tenant is suspended: its messages are refused.",
    "resume": "The tenant's messages are taken again.",
    "open-claim": "The claim user may come in.",
    "close-claim": "The claim user is shut out.",
    "pending": "It is written down. The broker does not know it yet, and will within a minute.",
    "sold": "The subscription runs from now on.",
    "subscription": "The subscription is saved.",
}
STRATEGIES = (
    (Strategy.AUTO, "Take them, while there is a free seat"),
    (Strategy.APPROVE, "Hold their messages until somebody approves them"),
    (Strategy.OFF, "Refuse them"),
)
STATUSES = ((TenantStatus.ACTIVE, "Active"), (TenantStatus.SUSPENDED, "Suspended"))
NEW_DEVICES = {Strategy.AUTO: "Taken", Strategy.APPROVE: "Held for approval", Strategy.OFF: "Refused"}
"""What becomes of them, in a word."""


@dataclass(frozen=True, slots=True)
class TenantForm:
    """What was typed for a new tenant."""

    tenant_id: str = ""
    name: str = ""
    time_zone: str = "UTC"
    provisioning: Strategy = Strategy.AUTO


def blueprint(renderer: PageRenderer, actions: TenantActions) -> Blueprint:
    """The routes of the pages."""
    routes = Blueprint("tenants", __name__)
    _list(routes, renderer, actions)
    _new(routes, renderer, actions)
    _one(routes, renderer, actions)
    return routes


def zones() -> list[tuple[str, str]]:
    """The time zones to choose from."""
    return [(zone, zone) for zone in sorted(sites.zones() - {"localtime"})]


async def claim_page(renderer: PageRenderer, made: ClaimResult, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """The claim user's secrets, this once."""
    return await renderer.page("tenants/claim.html", status=status, claim=made.claim, arrival=made.arrival)


def _list(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    @routes.get("/tenants")
    @allow(OPERATORS)
    async def tenants() -> Response:
        search, status = _search(), _status()
        if asked_for():
            return list_files.tenants(renderer.platform, viewer(), search, status)
        after = cursor.read(request.args.get("cursor"), str)
        page, next_id = await actions.list_page(search=search, status=status, limit=PAGE_ROWS, after=after)
        return await renderer.page(
            "tenants/list.html",
            done=DONE,
            standings=page,
            next=cursor.write(next_id),
            statuses=STATUSES,
            new_devices=NEW_DEVICES,
        )


def _new(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    async def page(given: TenantForm, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK) -> Response:
        return await renderer.page(
            "tenants/new.html", status=status, given=given, fault=fault, zones=zones(), strategies=STRATEGIES
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


def _one(routes: Blueprint, renderer: PageRenderer, actions: TenantActions) -> None:
    @routes.get("/tenants/<tenant_id>")
    @allow(OPERATORS)
    async def show(tenant_id: str) -> Response:
        access = renderer.platform.access
        standing = await actions.get(tenant_of_path(tenant_id))
        async with access.reading() as connection:
            recent = await audit_query.read(connection, AuditFilter(tenant_id=tenant_id), RECENT)
            names = await audit_query.names(connection, recent)
        zone = ZoneInfo(standing.tenant.time_zone)
        return await renderer.page(
            "tenants/tenant.html",
            done=DONE,
            standing=standing,
            tenant=standing.tenant,
            lines=labels.lines(standing.subscriptions, access.now(), zone, renderer.platform.grace),
            recent=[audit_entry_of(row, viewer().zone, names) for row in recent],
            strategies=dict(STRATEGIES),
            new_devices=NEW_DEVICES,
        )


def _search() -> str:
    search = request.args.get("q", "").strip()
    if len(search) > MAX_SEARCH or "\0" in search:
        raise Invalid(f"`q` has at most {MAX_SEARCH} characters, all of which can be shown.", "q")
    return search


def _status() -> TenantStatus | None:
    text = request.args.get("status", "")
    try:
        return TenantStatus(text) if text else None
    except ValueError:
        raise Invalid(f"`status` is one of {', '.join(TenantStatus)}.", "status") from None
