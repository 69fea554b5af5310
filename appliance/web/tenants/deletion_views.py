"""Pages of the deletion of a tenant: the question, the question again, and how far it is."""

from datetime import datetime
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.errors import Conflict
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page import cursor, forms
from appliance.web.page.confirmation import name_fault
from appliance.web.page.faults import Fault
from appliance.web.page.paths import number_of_path, tenant_of_path
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.tenants.actions import TenantActions
from appliance.web.tenants.deletions import DeletionActions

PAGE = "deletions"
PAGE_ROWS = 50


def blueprint(renderer: PageRenderer, tenants: TenantActions, actions: DeletionActions) -> Blueprint:
    """Return the routes of the two questions, of the list and of each deletion."""
    routes = Blueprint("tenant_deletions", __name__)
    _add_questions(routes, renderer, tenants, actions)
    _add_progress(routes, renderer, actions)
    return routes


def _add_questions(routes: Blueprint, renderer: PageRenderer, tenants: TenantActions, actions: DeletionActions) -> None:
    async def question(
        tenant_id: str, template: str, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        tenant = (await tenants.get(tenant_of_path(tenant_id))).tenant
        goes = await actions.count_tenant(tenant.tenant_id)
        return await renderer.page(template, status=status, tenant=tenant, goes=goes, fault=fault)

    @routes.get("/tenants/<tenant_id>/delete")
    @allow(OPERATORS)
    async def ask(tenant_id: str) -> Response:
        return await question(tenant_id, "tenants/delete.html")

    @routes.post("/tenants/<tenant_id>/delete")
    @allow(OPERATORS)
    async def ask_again(tenant_id: str) -> Response:
        fault = await name_fault(tenant_of_path(tenant_id))
        if fault is not None:
            return await question(tenant_id, "tenants/delete.html", fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        return await question(tenant_id, "tenants/delete-again.html")

    @routes.post("/tenants/<tenant_id>/delete/confirm")
    @allow(OPERATORS)
    async def delete(tenant_id: str) -> Response:
        tenant_id = tenant_of_path(tenant_id)
        fault, version = await name_fault(tenant_id), forms.version(await forms.read())
        if fault is not None or version is None:
            return await question(tenant_id, "tenants/delete.html", fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        return await _begun(tenant_id, version)

    async def _begun(tenant_id: str, version: datetime) -> Response:
        try:
            deletion_id = await actions.begin(tenant_id, version)
        except Conflict as error:  # somebody else has changed it, or deletes it already
            fault = ("typed", str(error))
            return await question(tenant_id, "tenants/delete.html", fault, HTTPStatus.CONFLICT)
        return see_other(f"/tenants/+deletions/{deletion_id}")


def _add_progress(routes: Blueprint, renderer: PageRenderer, actions: DeletionActions) -> None:
    @routes.get("/tenants/+deletions")
    @allow(OPERATORS)
    async def deletions() -> Response:
        after = cursor.read(request.args.get("cursor"), int)
        page, next_id = await actions.list_page(limit=PAGE_ROWS, after=after)
        shown = list(zip(page, await actions.copies(page), strict=True))
        return await renderer.page(
            "tenants/deletions.html", live_page=PAGE, deletions=shown, next=cursor.write(next_id)
        )

    @routes.get("/tenants/+deletions/<int:deletion_id>")
    @allow(OPERATORS)
    async def one(deletion_id: int) -> Response:
        found = await actions.get(number_of_path(deletion_id, "deletion"))
        (copies,) = await actions.copies([found])
        return await renderer.page("tenants/deletion.html", live_page=PAGE, deletion=found, copies=copies)
