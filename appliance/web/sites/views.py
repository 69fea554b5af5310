"""Sites: listed, and each named and placed on a page of its own."""

from collections.abc import Mapping
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.devices import sites
from appliance.devices.device import MAX_TEXT
from appliance.devices.seats import changes
from appliance.devices.sites import Site, TenantSite
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import actor, tenant_of, tenants_shown
from appliance.web.page import csv, cursor, forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields, version
from appliance.web.page.paths import of_tenant, site_of_path
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.sites import export

PAGE_ROWS = 50
DONE = {"created": "The site is there.", "saved": "The site is saved.", "deleted": "The site is removed."}


def blueprint(renderer: PageRenderer) -> Blueprint:
    """The routes."""
    routes = Blueprint("sites", __name__)
    _add_list(routes, renderer)
    access = renderer.platform.access

    def by() -> changes.ChangeContext:
        return changes.ChangeContext(actor(), access.now(), renderer.platform.grace)

    @routes.get("/sites/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        return await _form(renderer, {}, None)

    @routes.post("/sites/+new")
    @allow(ADMINS)
    async def create() -> Response:
        fields = await forms.read()
        try:
            new = _site(fields, fields.needed("site_id", "Give the site an id.", most=64))
            async with access.changing() as connection:
                await sites.create(connection, tenant_of(), new, by())
        except Invalid as error:
            return await _form(renderer, _given(fields), None, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await _form(renderer, _given(fields), None, fault_of(error, "site_id"), HTTPStatus.CONFLICT)
        return see_other(of_tenant("/sites", viewer(), tenant_of(), done="created"))

    @routes.get("/sites/<site_id>")
    @allow(READERS)
    async def show(site_id: str) -> Response:
        async with access.reading() as connection:
            placed = await sites.get(connection, tenant_of(), site_of_path(site_id))
        return await _form(renderer, _given_of(placed), placed)

    @routes.post("/sites/<site_id>")
    @allow(ADMINS)
    async def save(site_id: str) -> Response:
        fields = await forms.read()
        async with access.reading() as connection:
            placed = await sites.get(connection, tenant_of(), site_of_path(site_id))
        try:
            async with access.changing() as connection:
                started, new = version(fields), _site(fields, site_id)
                await sites.change(connection, tenant_of(), new, by(), version=started)
        except Invalid as error:
            return await _form(renderer, _given(fields), placed, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await _form(renderer, _given(fields), placed, fault_of(error), HTTPStatus.CONFLICT)
        return see_other(of_tenant("/sites", viewer(), tenant_of(), done="saved"))

    @routes.post("/sites/<site_id>/delete")
    @allow(ADMINS)
    async def delete(site_id: str) -> Response:
        try:
            async with access.changing() as connection:
                await sites.delete(connection, tenant_of(), site_of_path(site_id), by())
        except Conflict as error:
            async with access.reading() as connection:
                placed = await sites.get(connection, tenant_of(), site_id)
            return await _form(renderer, _given_of(placed), placed, fault_of(error), HTTPStatus.CONFLICT)
        return see_other(of_tenant("/sites", viewer(), tenant_of(), done="deleted"))

    return routes


async def _form(
    renderer: PageRenderer,
    given: Mapping[str, str],
    placed: TenantSite | None,
    fault: Fault | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    return await renderer.page(
        "sites/site.html",
        status=status,
        placed=placed,
        given=given,
        fault=fault,
        zones=[(zone, zone) for zone in sorted(sites.zones())],
        may_change=may_change(viewer()),
        devices=of_tenant("/devices", viewer(), tenant_of(), site=placed.site.site_id if placed else ""),
        back=of_tenant("/sites", viewer(), tenant_of()),
        delete=None if placed is None else _to_site(placed, "/delete"),
    )


def _add_list(routes: Blueprint, renderer: PageRenderer) -> None:
    @routes.get("/sites")
    @allow(READERS)
    async def all_sites() -> Response:
        if csv.asked_for():
            return export.answer(renderer.platform, viewer(), tenants_shown())
        after = cursor.read(request.args.get("cursor"), tuple[str, str])
        async with renderer.platform.access.reading() as connection:
            found = await sites.list_page(connection, tenants_shown(), limit=PAGE_ROWS + 1, after=after)
        shown = found[:PAGE_ROWS]
        return await renderer.page(
            "sites/list.html",
            done=DONE,
            sites=[(placed, _to_site(placed), _devices_of(placed)) for placed in shown],
            next=cursor.write((shown[-1].tenant_id, shown[-1].site.site_id)) if len(found) > PAGE_ROWS else None,
            may_change=may_change(viewer()),
        )


def _site(fields: Fields, site_id: str) -> Site:
    """The site that a form describes. Raises Invalid, naming the field."""
    return Site(
        site_id,
        fields.text("name", most=MAX_TEXT) or None,
        fields.text("time_zone", most=64) or None,
        fields.number("lat", least=-90, most=90),
        fields.number("lng", least=-180, most=180),
    )


def _given(fields: Fields) -> dict[str, str]:
    names = ("site_id", "name", "time_zone", "lat", "lng", "version")
    return {name: str(fields.values[name][-1]) for name in names if fields.values.get(name)}


def _given_of(placed: TenantSite) -> dict[str, str]:
    one = placed.site
    texts = {"name": one.name, "time_zone": one.time_zone, "lat": one.lat, "lng": one.lng}
    known = {name: f"{value}" for name, value in texts.items() if value is not None}
    return known | {"site_id": one.site_id, "version": placed.version.isoformat()}


def _to_site(placed: TenantSite, part: str = "") -> str:
    return of_tenant(f"/sites/{placed.site.site_id}{part}", viewer(), placed.tenant_id)


def _devices_of(placed: TenantSite) -> str:
    return of_tenant("/devices", viewer(), placed.tenant_id, site=placed.site.site_id)
