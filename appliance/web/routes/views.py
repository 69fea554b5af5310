"""The pages of routes: the list in order of priority, the editor beside it, the switch, the question before deleting.

One form does all: ``do`` says whether it saves, ticks all severities, shows what the route would have taken, or sends
a sample, so that all of it works without script.
"""

from dataclasses import replace
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.delivery.routes.store import KnownRoute
from appliance.delivery.routes.validation import draft_of
from appliance.errors import Conflict, Invalid
from appliance.severity import Severity
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.openapi.describe import query
from appliance.web.page import csv, forms
from appliance.web.page.confirmation import name_fault
from appliance.web.page.faults import Fault
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.routes import export, form
from appliance.web.routes.listing import PATH, at
from appliance.web.routes.page import RoutePages, Shown
from appliance.web.routes.schemas import RouteQuery, filter_of


def blueprint(renderer: PageRenderer, pages: RoutePages) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("routes", __name__)
    _add_list(routes, pages)
    _add_editor(routes, pages)
    _add_switch(routes, pages)
    _add_delete(routes, renderer, pages)
    return routes


def _add_list(routes: Blueprint, pages: RoutePages) -> None:
    @routes.get(PATH)
    @allow(READERS)
    async def all_routes() -> Response:
        asked = query(RouteQuery)
        if csv.asked_for():
            return export.answer(pages.routes.platform, filter_of(asked, tenants_shown()))
        return await pages.show(Shown(), integration_id=asked.integration_id)


def _add_editor(routes: Blueprint, pages: RoutePages) -> None:
    @routes.get(f"{PATH}/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        tenant_of()
        given = form.blank(request.args.get("integration_id", "")[:64])
        return await pages.show(Shown(given=given, preview=await pages.preview(given, None)))

    @routes.post(f"{PATH}/+new")
    @allow(ADMINS)
    async def create() -> Response:
        return await _take(pages, Shown())

    @routes.get(f"{PATH}/<route_id>")
    @allow(READERS)
    async def show_one(route_id: str) -> Response:
        known = await pages.routes.get(route_id)
        given = form.filled(known.route)
        return await pages.show(Shown(known, given, preview=await pages.preview(given, known)))

    @routes.post(f"{PATH}/<route_id>")
    @allow(ADMINS)
    async def save(route_id: str) -> Response:
        return await _take(pages, Shown(await pages.routes.get(route_id)))


def _add_switch(routes: Blueprint, pages: RoutePages) -> None:
    @routes.post(f"{PATH}/<route_id>/switch")
    @allow(ADMINS)
    async def switch(route_id: str) -> Response:
        enabled = (await forms.read()).flag("enabled")
        try:
            await pages.routes.edit(route_id, lambda kept: replace(draft_of(kept), enabled=enabled), None)
        except Invalid as error:
            known = await pages.routes.get(route_id)
            return await pages.refused(Shown(known, form.filled(known.route)), error)
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="on" if enabled else "off"))


def _add_delete(routes: Blueprint, renderer: PageRenderer, pages: RoutePages) -> None:
    async def asked(known: KnownRoute, fault: Fault | None) -> Response:
        status = HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY
        action, back = at(known, "/delete"), at(known)
        page = "routes/delete.html"
        return await renderer.page(page, status=status, known=known, fault=fault, action=action, back=back)

    @routes.get(f"{PATH}/<route_id>/delete")
    @allow(ADMINS)
    async def ask(route_id: str) -> Response:
        return await asked(await pages.routes.get(route_id), None)

    @routes.post(f"{PATH}/<route_id>/delete")
    @allow(ADMINS)
    async def delete(route_id: str) -> Response:
        known = await pages.routes.get(route_id)
        fault = await name_fault(known.route.name)
        if fault is not None:
            return await asked(known, fault)
        await pages.routes.delete(route_id)
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="deleted"))


async def _take(pages: RoutePages, shown: Shown) -> Response:
    """Save what was typed, or show what it would take, or send a sample."""
    fields = await forms.read()
    do, given, known = fields.text("do", most=16), form.typed(fields), shown.known
    if do == "all":
        given = given.having("severities", [one.value for one in Severity])
    if do in ("all", "preview"):
        return await pages.show(Shown(known, given, preview=await pages.preview(given, known)))
    if do == "test":
        sample, seen = await pages.sample(given), await pages.preview(given, known)
        return await pages.show(Shown(known, given, preview=seen, sample=sample))
    try:
        draft = form.draft_of(given)
        if known is None:
            await pages.routes.create(draft)
        else:
            await pages.routes.edit(str(known.route.route_id), lambda _kept: draft, form.version_of(given))
    except (Invalid, Conflict) as error:
        return await pages.refused(Shown(known, given, preview=await pages.preview(given, known)), error)
    return see_other(of_tenant(PATH, viewer(), tenant_of(), done="created" if known is None else "saved"))
