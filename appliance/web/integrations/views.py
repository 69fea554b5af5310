"""The pages of integrations: the list with their health, the form beside it, samples and their answers.

A sample is answered by the page itself, since what it showed is kept nowhere; so is a secret that was just made.
"""

from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.db.require import require
from appliance.delivery.integrations.drafts import sender_of
from appliance.delivery.routes import store as route_store
from appliance.delivery.routes.store import RouteFilter
from appliance.errors import Busy, Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.integrations import export, form
from appliance.web.integrations.actions import IntegrationActions, Made
from appliance.web.integrations.listing import PATH, at
from appliance.web.integrations.page import IntegrationPages, Shown
from appliance.web.integrations.schemas import IntegrationQuery, filter_of
from appliance.web.openapi.describe import query
from appliance.web.page import csv, forms
from appliance.web.page.confirmation import name_fault
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer, see_other

SHOWN_ROUTES = 20
"""Routes that are named where an integration cannot be deleted."""


def blueprint(renderer: PageRenderer, integrations: IntegrationActions) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("integrations", __name__)
    pages = IntegrationPages(renderer, integrations)
    _add_list(routes, pages)
    _add_new(routes, pages)
    _add_one(routes, pages)
    _add_steps(routes, pages)
    _add_delete(routes, renderer, integrations)
    return routes


def _add_list(routes: Blueprint, pages: IntegrationPages) -> None:
    @routes.get(PATH)
    @allow(READERS)
    async def all_integrations() -> Response:
        asked = query(IntegrationQuery)
        if csv.asked_for():
            return export.answer(pages.integrations.platform, filter_of(asked, tenants_shown()))
        return await pages.show(Shown())


def _add_new(routes: Blueprint, pages: IntegrationPages) -> None:
    @routes.get(f"{PATH}/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        tenant_of()
        senders = pages.integrations.senders
        sender = sender_of(senders, request.args.get("type") or next(iter(senders)))
        return await pages.show(Shown(sender=sender, given=form.blank(sender)))

    @routes.post(f"{PATH}/+new")
    @allow(ADMINS)
    async def create() -> Response:
        fields = await forms.read()
        sender = sender_of(pages.integrations.senders, fields.text("type", most=64))
        given = form.typed(fields, sender)
        if fields.text("do", most=16) == "redraw":
            blank = form.blank(sender)
            texts = {name: given.config.get(name) or text for name, text in blank.config.items()}
            redrawn = form.Given(given.name, texts, given.enabled, given.concurrency)
            return await pages.show(Shown(sender=sender, given=redrawn))
        if fields.text("do", most=16) == "try":
            return await _tried(pages, Shown(sender=sender, given=given), fields)
        try:
            made = await pages.integrations.create(sender.type, form.draft_of(fields, sender))
        except (Invalid, Conflict) as error:
            return await pages.refused(Shown(sender=sender, given=given), error)
        return await _written(pages, made, fields.text("do", most=16), "created")


def _add_one(routes: Blueprint, pages: IntegrationPages) -> None:
    @routes.get(f"{PATH}/<integration_id>")
    @allow(READERS)
    async def show_one(integration_id: str) -> Response:
        return await pages.show(await pages.opened(integration_id))

    @routes.post(f"{PATH}/<integration_id>")
    @allow(ADMINS)
    async def save(integration_id: str) -> Response:
        fields = await forms.read()
        opened = await pages.opened(integration_id)
        sender = require(opened.sender, "such type of integration")
        given = form.typed(fields, sender)
        if fields.text("do", most=16) == "try":
            return await _tried(pages, Shown(opened.known, sender, given), fields)
        try:
            draft = form.draft_of(fields, sender)
            made = await pages.integrations.edit(integration_id, lambda _kept: draft, form.version_of(fields))
        except (Invalid, Conflict) as error:
            return await pages.refused(Shown(opened.known, sender, given), error)
        return await _written(pages, made, fields.text("do", most=16), "saved")


def _add_steps(routes: Blueprint, pages: IntegrationPages) -> None:
    @routes.post(f"{PATH}/<integration_id>/test")
    @allow(ADMINS)
    async def test(integration_id: str) -> Response:
        return await _tested(pages, integration_id, Shown())

    @routes.post(f"{PATH}/<integration_id>/switch")
    @allow(ADMINS)
    async def switch(integration_id: str) -> Response:
        enabled = (await forms.read()).flag("enabled")
        try:
            await pages.integrations.edit(integration_id, lambda kept: form.switched(kept, enabled=enabled), None)
        except (Invalid, Conflict) as error:
            return await pages.refused(await pages.opened(integration_id), error)
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="on" if enabled else "off"))


def _add_delete(routes: Blueprint, renderer: PageRenderer, integrations: IntegrationActions) -> None:
    async def asked(integration_id: str, fault: Fault | None, status: HTTPStatus) -> Response:
        known = await integrations.get(integration_id)
        wanted = RouteFilter(known.integration.tenant_id, known.integration.integration_id)
        async with renderer.platform.access.reading() as connection:
            leading = await route_store.list_page(connection, wanted, limit=SHOWN_ROUTES)
        return await renderer.page(
            "integrations/delete.html",
            status=status,
            known=known,
            leading=[
                (one.route.name, of_tenant(f"/routes/{one.route.route_id}", viewer(), one.route.tenant_id))
                for one in leading
            ],
            fault=fault,
            action=at(known, "/delete"),
            back=at(known),
        )

    @routes.get(f"{PATH}/<integration_id>/delete")
    @allow(ADMINS)
    async def ask(integration_id: str) -> Response:
        return await asked(integration_id, None, HTTPStatus.OK)

    @routes.post(f"{PATH}/<integration_id>/delete")
    @allow(ADMINS)
    async def delete(integration_id: str) -> Response:
        known = await integrations.get(integration_id)
        fault = None if known.routes else await name_fault(known.integration.name)  # in use: it cannot be typed
        if fault is not None:
            return await asked(integration_id, fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            await integrations.delete(integration_id)
        except Conflict as error:
            return await asked(integration_id, fault_of(error), HTTPStatus.CONFLICT)
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="deleted"))


async def _written(pages: IntegrationPages, made: Made, do: str, done: str) -> Response:
    """Answer a form that was saved: with the sample's answer, with a new secret or a warning, else with the list."""
    identity = str(made.known.integration.integration_id)
    shown = Shown(made=made, done=done)
    if do == "test":
        return await _tested(pages, identity, shown)
    if made.secrets or made.warnings:
        return await pages.show(shown)
    return see_other(of_tenant(PATH, viewer(), tenant_of(), done=done))


async def _tried(pages: IntegrationPages, shown: Shown, fields: Fields) -> Response:
    """Send a sample by what is typed, and answer with what came of it; nothing is saved."""
    sender = require(shown.sender, "such type of integration")
    try:
        return await pages.show(await pages.tried(shown, form.draft_of(fields, sender)))
    except (Invalid, Conflict, Busy) as error:
        return await pages.show(pages.not_tried(shown, error))


async def _tested(pages: IntegrationPages, integration_id: str, shown: Shown) -> Response:
    """Send a sample, and answer with what came of it."""
    try:
        return await pages.show(await pages.tested(integration_id, shown))
    except (Busy, Conflict) as error:
        status = HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, Busy) else HTTPStatus.CONFLICT
        return await pages.show(shown.failing(str(error)), status)
