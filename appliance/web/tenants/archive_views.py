"""The export of a tenant: the page that says how much it is, the download, and the same over the API."""

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from appliance import __version__
from appliance.devices import tenants
from appliance.devices.tenants import Tenant, TenantStatus
from appliance.errors import Conflict
from appliance.offboarding import export
from appliance.offboarding.export import ExportSize
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.openapi.describe import answer, describe
from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform

CONTENT_TYPE = "application/zip"


class ExportOut(msgspec.Struct, frozen=True, kw_only=True):
    """About how much an export has."""

    tenant_id: str
    devices: int
    alerts: int
    readings: Annotated[int, Meta(description="By the accounting: they are not counted before they are read.")]
    bytes: Annotated[int, Meta(description="About, of the readings, unpacked; the archive takes an eighth of it.")]
    as_of: datetime


def blueprint(renderer: PageRenderer) -> Blueprint:
    """Return the routes of the export."""
    routes = Blueprint("tenant_export", __name__)
    platform = renderer.platform

    @routes.get("/export")
    @allow(ADMINS)
    async def page() -> Response:
        tenant, size = await _measured(platform)
        return await renderer.page("tenants/export.html", tenant=tenant, size=size)

    @routes.post("/export")
    @allow(ADMINS)
    async def download() -> Response:
        return await _archive(platform)

    @routes.get("/customer/export")
    @allow(ADMINS)
    @describe("Show how much an export has", answers={HTTPStatus.OK: ExportOut})
    async def size_of_export() -> Response:
        tenant, size = await _measured(platform)
        return answer(
            ExportOut(
                tenant_id=tenant.tenant_id,
                devices=size.devices,
                alerts=size.alerts,
                readings=size.readings,
                bytes=size.bytes,
                as_of=platform.access.now(),
            )
        )

    @routes.post("/customer/export")
    @allow(ADMINS)
    @describe(
        "Export all that belongs to the tenant",
        details="Answers 200 with a ZIP archive (`application/zip`): lists as CSV, configuration as JSON, readings by "
        "day, `manifest.json` with rows and checksums. It is written while it is sent; one that breaks off cannot be "
        "opened. No secret is in it.",
        answers={HTTPStatus.OK: None},
        download=CONTENT_TYPE,
        keyed=False,
    )
    async def export_tenant() -> Response:
        return await _archive(platform)

    return routes


async def _measured(platform: Platform) -> tuple[Tenant, ExportSize]:
    """Return the tenant and about how much it has. Raises NotFound; Conflict while it is being deleted."""
    async with platform.access.reading() as connection:
        tenant = await tenants.get(connection, tenant_of())
        if tenant.status is TenantStatus.DELETING:
            raise Conflict(f"Tenant {tenant.tenant_id} is being deleted: what is left of it is not exported.")
        return tenant, await export.size(connection, tenant.tenant_id)


async def _archive(platform: Platform) -> Response:
    """Return the download, noted in the audit before its first byte."""
    tenant, _ = await _measured(platform)
    access, tenant_id, now = platform.access, tenant.tenant_id, platform.access.now()
    async with access.changing() as connection:
        await export.record_export(connection, tenant_id, access.context())
    pieces = export.archive(partial(access.reading, viewer()), tenant_id, now=now, version=__version__)
    response = Response(pieces, content_type=CONTENT_TYPE)
    response.timeout = None  # it takes as long as its reader
    response.headers["Content-Disposition"] = f'attachment; filename="{export.file_name(tenant_id, now)}"'
    return response
