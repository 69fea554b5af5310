"""``/customer/sites``: where devices stand."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from appliance.devices import sites
from appliance.devices.seats import changes
from appliance.devices.sites import Site, TenantSite
from appliance.errors import Conflict
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import actor, tenant_of, tenants_shown
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import site_of_path
from appliance.web.platform import Platform
from appliance.web.sites import export


class SiteOut(msgspec.Struct, frozen=True):
    """A site as it is now."""

    tenant_id: str
    site_id: str
    name: str | None
    time_zone: Annotated[str | None, msgspec.Meta(description="Its own; null: that of the tenant.")]
    zone: Annotated[str, msgspec.Meta(description="The time zone in force.")]
    lat: float | None
    lng: float | None
    devices: Annotated[int, msgspec.Meta(description="How many stand there.")]
    version: Annotated[datetime, msgspec.Meta(description="Send it with a change: a stale one is a conflict.")]


class SiteQuery(msgspec.Struct, frozen=True):
    """Which page."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class SitePage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[SiteOut]
    next: str | None


class SiteNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site to be made."""

    site_id: str
    name: str | None = None
    time_zone: str | None = None
    lat: float | None = None
    lng: float | None = None


class SiteChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    name: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    lat: float | UnsetType | None = UNSET
    lng: float | UnsetType | None = UNSET
    version: datetime | None = None


def blueprint(platform: Platform) -> Blueprint:
    """The routes."""
    routes = Blueprint("api_sites", __name__)
    access = platform.access

    def by() -> changes.ChangeContext:
        return changes.ChangeContext(actor(), access.now(), platform.grace)

    @routes.get("/customer/sites")
    @allow(READERS)
    @describe("List sites", query=SiteQuery, answers={HTTPStatus.OK: SitePage}, csv=True)
    async def list_sites() -> Response:
        asked = query(SiteQuery)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), tenants_shown())
        after = cursor.read(asked.cursor, tuple[str, str])
        async with access.reading() as connection:
            found = await sites.list_page(connection, tenants_shown(), limit=asked.limit + 1, after=after)
        more = found[asked.limit - 1] if len(found) > asked.limit else None
        place = None if more is None else (more.tenant_id, more.site.site_id)
        return answer(SitePage([shown(placed) for placed in found[: asked.limit]], cursor.write(place)))

    @routes.post("/customer/sites")
    @allow(ADMINS)
    @describe("Make a site", body=SiteNew, answers={HTTPStatus.CREATED: SiteOut})
    async def create() -> Response:
        new = await body(SiteNew)
        async with access.changing() as connection:
            made = await sites.create(connection, tenant_of(), Site(**msgspec.structs.asdict(new)), by())
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"/customer/sites/{new.site_id}"})

    @routes.get("/customer/sites/<site_id>")
    @allow(READERS)
    @describe("Show a site", answers={HTTPStatus.OK: SiteOut})
    async def show(site_id: str) -> Response:
        async with access.reading() as connection:
            return answer(shown(await sites.get(connection, tenant_of(), site_of_path(site_id))))

    @routes.patch("/customer/sites/<site_id>")
    @allow(ADMINS)
    @describe("Describe a site", body=SiteChange, answers={HTTPStatus.OK: SiteOut})
    async def change(site_id: str) -> Response:
        wanted = await body(SiteChange)
        given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
        given.pop("version")
        async with access.changing() as connection:
            seen = await sites.get(connection, tenant_of(), site_of_path(site_id))
            if wanted.version not in (None, seen.version):
                raise Conflict(f"Somebody has changed site {site_id} meanwhile; read it again.")
            new = replace(seen.site, **given)
            changed = await sites.change(connection, tenant_of(), new, by(), version=seen.version)
        return answer(shown(changed))

    @routes.delete("/customer/sites/<site_id>")
    @allow(ADMINS)
    @describe("Remove a site where nothing stands", answers={HTTPStatus.NO_CONTENT: None})
    async def delete(site_id: str) -> Response:
        async with access.changing() as connection:
            await sites.delete(connection, tenant_of(), site_of_path(site_id), by())
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes


def shown(placed: TenantSite) -> SiteOut:
    """A site as the API shows it."""
    site = placed.site
    return SiteOut(
        placed.tenant_id,
        site.site_id,
        site.name,
        site.time_zone,
        placed.zone,
        site.lat,
        site.lng,
        placed.devices,
        placed.version,
    )
