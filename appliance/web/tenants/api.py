"""``/operator/tenants``: the tenants, to whom devices and their data belong."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.tenants import Strategy, TenantStatus
from appliance.web.access.auth import OPERATORS, allow, viewer
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import tenant_of_path
from appliance.web.platform import Platform
from appliance.web.tenants import export
from appliance.web.tenants.actions import ClaimResult, TenantActions, TenantChange, TenantOverview


class TenantOut(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    tenant_id: str
    name: str | None
    time_zone: str
    status: TenantStatus
    provisioning: Annotated[Strategy, Meta(description="What happens when an unknown device connects.")]
    claim_enabled: bool
    has_claim: bool
    rate: Annotated[float | None, Meta(description="Messages a second of each device; null: as configured.")]
    burst: Annotated[int | None, Meta(description="Messages at once of each device; null: as configured.")]
    tenant_rate: Annotated[float | None, Meta(description="Of all devices together; 0: no limit; null: as configured.")]
    devices: Annotated[int, Meta(description="Registered devices in any status.")]
    seats_used: Annotated[int, Meta(description="Of the subscriptions that provide seats now.")]
    seats_limit: Annotated[int, Meta(description="Of the subscriptions that provide seats now.")]
    last_heard_at: Annotated[
        datetime | None, Meta(description="When a message of any of its devices was last received.")
    ]
    created_at: datetime
    version: Annotated[datetime, Meta(description="Send it with a change: a stale one is a conflict.")]


class TenantQuery(msgspec.Struct, frozen=True):
    """Which tenants, and which page of them."""

    q: Annotated[str, Meta(max_length=200, description="Part of an id or a name.")] = ""
    status: TenantStatus | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class TenantPage(msgspec.Struct, frozen=True):
    """One page, by id; ``next`` is the cursor of the next, if there is one."""

    items: list[TenantOut]
    next: str | None


class TenantNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to add."""

    tenant_id: str
    name: str = ""
    time_zone: str = "UTC"
    provisioning: Strategy = Strategy.AUTO


class ClaimSwitch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the claim user is open."""

    enabled: bool


class ClaimOut(msgspec.Struct, frozen=True):
    """A claim user; its password is shown only once."""

    tenant_id: str
    claim_username: str
    claim_password: str
    broker: Annotated[SyncStatus, Meta(description="Whether the broker has applied it already.")]


def blueprint(platform: Platform, actions: TenantActions) -> Blueprint:
    """Return the routes of tenants in the API."""
    routes = Blueprint("api_tenants", __name__)
    _add_list(routes, platform, actions)
    _add_tenant(routes, actions)
    _add_steps(routes, actions)
    return routes


def _add_list(routes: Blueprint, platform: Platform, actions: TenantActions) -> None:
    @routes.get("/operator/tenants")
    @allow(OPERATORS)
    @describe("List tenants", query=TenantQuery, answers={HTTPStatus.OK: TenantPage}, csv=True)
    async def list_tenants() -> Response:
        asked = query(TenantQuery)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), asked.q, asked.status)
        after = cursor.read(asked.cursor, str)
        page, next_id = await actions.list_page(search=asked.q, status=asked.status, limit=asked.limit, after=after)
        return answer(TenantPage([_shown(overview) for overview in page], cursor.write(next_id)))

    @routes.post("/operator/tenants")
    @allow(OPERATORS)
    @describe("Add a tenant", body=TenantNew, answers={HTTPStatus.CREATED: ClaimOut})
    async def add() -> Response:
        new = await body(TenantNew)
        made = await actions.add(new.tenant_id, new.name, new.time_zone, new.provisioning)
        return answer(_claim(made), HTTPStatus.CREATED, {"Location": f"/operator/tenants/{new.tenant_id}"})


def _add_tenant(routes: Blueprint, actions: TenantActions) -> None:
    @routes.get("/operator/tenants/<tenant_id>")
    @allow(OPERATORS)
    @describe("Show a tenant", answers={HTTPStatus.OK: TenantOut})
    async def show(tenant_id: str) -> Response:
        return answer(_shown(await actions.get(tenant_of_path(tenant_id))))

    @routes.patch("/operator/tenants/<tenant_id>")
    @allow(OPERATORS)
    @describe("Update a tenant", body=TenantChange, answers={HTTPStatus.OK: TenantOut})
    async def change(tenant_id: str) -> Response:
        return await _changed(actions, tenant_id, await body(TenantChange))


def _add_steps(routes: Blueprint, actions: TenantActions) -> None:
    @routes.post("/operator/tenants/<tenant_id>/suspend")
    @allow(OPERATORS)
    @describe("Suspend a tenant: refuse its messages", answers={HTTPStatus.OK: TenantOut})
    async def suspend(tenant_id: str) -> Response:
        return await _changed(actions, tenant_id, TenantChange(status=TenantStatus.SUSPENDED))

    @routes.post("/operator/tenants/<tenant_id>/resume")
    @allow(OPERATORS)
    @describe("Resume a tenant: accept its messages again", answers={HTTPStatus.OK: TenantOut})
    async def resume(tenant_id: str) -> Response:
        return await _changed(actions, tenant_id, TenantChange(status=TenantStatus.ACTIVE))

    @routes.post("/operator/tenants/<tenant_id>/claim")
    @allow(OPERATORS)
    @describe("Open or close the claim user", body=ClaimSwitch, answers={HTTPStatus.OK: TenantOut})
    async def claim(tenant_id: str) -> Response:
        return await _changed(actions, tenant_id, TenantChange(claim_enabled=(await body(ClaimSwitch)).enabled))

    @routes.post("/operator/tenants/<tenant_id>/rotate-claim")
    @allow(OPERATORS)
    @describe("Rotate the claim password", answers={HTTPStatus.OK: ClaimOut})
    async def rotate_claim(tenant_id: str) -> Response:
        return answer(_claim(await actions.rotate_claim(tenant_of_path(tenant_id))))


async def _changed(actions: TenantActions, tenant_id: str, wanted: TenantChange) -> Response:
    """Make a change and return the tenant after it."""
    tenant_id = tenant_of_path(tenant_id)
    await actions.change(tenant_id, wanted)
    return answer(_shown(await actions.get(tenant_id)))


def _shown(overview: TenantOverview) -> TenantOut:
    tenant, limits = overview.tenant, overview.tenant.limits
    return TenantOut(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        time_zone=tenant.time_zone,
        status=tenant.status,
        provisioning=tenant.provisioning,
        claim_enabled=tenant.claim_enabled,
        has_claim=tenant.has_claim,
        rate=limits.rate,
        burst=limits.burst,
        tenant_rate=limits.tenant_rate,
        devices=tenant.devices,
        seats_used=overview.seats_used,
        seats_limit=overview.seats_limit,
        last_heard_at=tenant.last_heard_at,
        created_at=tenant.created_at,
        version=tenant.version,
    )


def _claim(made: ClaimResult) -> ClaimOut:
    claim = made.claim
    return ClaimOut(claim.tenant_id, claim.claim_username, claim.claim_password, made.sync_status)
