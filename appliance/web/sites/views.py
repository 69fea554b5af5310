"""The pages of sites: a list, and a form for each."""

from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, request

from appliance import zones
from appliance.devices.device import MAX_TEXT
from appliance.devices.sites import Site, TenantSite
from appliance.web.access.auth import READERS, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.page import csv
from appliance.web.page.collection_forms import CollectionForm, add_forms
from appliance.web.page.forms import Fields
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer
from appliance.web.sites import export
from appliance.web.sites.actions import SiteCollection

PATH = "/sites"
PAGE_ROWS = 50
DONE = {"created": "The site is added.", "saved": "The site is saved.", "deleted": "The site is removed."}


def blueprint(renderer: PageRenderer, sites: SiteCollection) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("sites", __name__)
    _add_list(routes, renderer, sites)
    add_forms(routes, renderer, sites, FORM)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, sites: SiteCollection) -> None:
    @routes.get(PATH)
    @allow(READERS)
    async def all_sites() -> Response:
        if csv.asked_for():
            return export.answer(sites)
        shown, following = await sites.page(PAGE_ROWS, request.args.get("cursor"))
        return await renderer.page(
            "sites/list.html",
            done=DONE,
            sites=[(kept, sites.address(PATH, kept), _devices_of(kept)) for kept in shown],
            next=following,
            may_change=may_change(viewer()),
        )


def _parse(fields: Fields, site_id: str) -> Site:
    return Site(
        site_id,
        fields.text("name", most=MAX_TEXT) or None,
        fields.text("time_zone", most=64) or None,
        fields.number("lat", least=-90, most=90),
        fields.number("lng", least=-180, most=180),
    )


def _given(kept: TenantSite) -> dict[str, str]:
    site = kept.site
    texts = {"name": site.name, "time_zone": site.time_zone, "lat": site.lat, "lng": site.lng}
    known = {name: f"{value}" for name, value in texts.items() if value is not None}
    return known | {"site_id": site.site_id, "version": kept.version.isoformat()}


def _values(kept: TenantSite | None) -> Mapping[str, Any]:
    return {
        "zones": zones.choices_with(None if kept is None else kept.site.time_zone),
        "devices": of_tenant("/devices", viewer(), tenant_of()) if kept is None else _devices_of(kept),
    }


def _devices_of(kept: TenantSite) -> str:
    return of_tenant("/devices", viewer(), kept.tenant_id, site=kept.site.site_id)


FORM = CollectionForm(
    path=PATH,
    template="sites/site.html",
    id_field="site_id",
    id_missing="Give the site an id.",
    fields=("name", "time_zone", "lat", "lng"),
    parse=_parse,
    given=_given,
    values=_values,
)
