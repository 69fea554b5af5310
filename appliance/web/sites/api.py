"""The API of sites: ``/customer/sites``."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from appliance.devices.sites import Site, TenantSite
from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.openapi.body import body, given
from appliance.web.openapi.describe import PageQuery, answer, describe, query
from appliance.web.page import csv
from appliance.web.sites import export
from appliance.web.sites.actions import SiteCollection


class SiteOut(msgspec.Struct, frozen=True):
    """A site."""

    tenant_id: str
    site_id: str
    name: str | None
    time_zone: Annotated[str | None, msgspec.Meta(description="The site's own; null: the tenant's.")]
    zone: Annotated[str, msgspec.Meta(description="The time zone in force.")]
    lat: float | None
    lng: float | None
    devices: Annotated[int, msgspec.Meta(description="The number of devices at the site.")]
    version: Annotated[datetime, msgspec.Meta(description="Send it with a change; an outdated version is a conflict.")]


class SitePage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[SiteOut]
    next: str | None


class SiteNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new site."""

    site_id: str
    name: str | None = None
    time_zone: str | None = None
    lat: float | None = None
    lng: float | None = None


class SiteChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values."""

    name: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    lat: float | UnsetType | None = UNSET
    lng: float | UnsetType | None = UNSET
    version: datetime | None = None


def blueprint(sites: SiteCollection) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_sites", __name__)

    @routes.get("/customer/sites")
    @allow(READERS)
    @describe("List sites", query=PageQuery, answers={HTTPStatus.OK: SitePage}, csv=True)
    async def list_sites() -> Response:
        asked = query(PageQuery)
        if csv.asked_for():
            return export.answer(sites)
        found, following = await sites.page(asked.limit, asked.cursor)
        return answer(SitePage([shown(kept) for kept in found], following))

    @routes.post("/customer/sites")
    @allow(ADMINS)
    @describe("Add a site", body=SiteNew, answers={HTTPStatus.CREATED: SiteOut})
    async def create() -> Response:
        new = await body(SiteNew)
        made = await sites.create(Site(**msgspec.structs.asdict(new)))
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"/customer/sites/{new.site_id}"})

    @routes.get("/customer/sites/<site_id>")
    @allow(READERS)
    @describe("Show a site", answers={HTTPStatus.OK: SiteOut})
    async def show(site_id: str) -> Response:
        return answer(shown(await sites.get(site_id)))

    @routes.patch("/customer/sites/<site_id>")
    @allow(ADMINS)
    @describe("Update a site", body=SiteChange, answers={HTTPStatus.OK: SiteOut})
    async def change(site_id: str) -> Response:
        wanted = await body(SiteChange)
        edited = await sites.edit(site_id, lambda kept: replace(kept.site, **given(wanted)), wanted.version)
        return answer(shown(edited))

    @routes.delete("/customer/sites/<site_id>")
    @allow(ADMINS)
    @describe("Remove a site without devices", answers={HTTPStatus.NO_CONTENT: None})
    async def delete(site_id: str) -> Response:
        await sites.delete(site_id)
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes


def shown(kept: TenantSite) -> SiteOut:
    """Return a site as the API shows it."""
    site = kept.site
    return SiteOut(
        kept.tenant_id,
        site.site_id,
        site.name,
        site.time_zone,
        kept.zone,
        site.lat,
        site.lng,
        kept.devices,
        kept.version,
    )
