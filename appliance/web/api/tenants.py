"""``/operator/tenants``: whom devices and their data belong to."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from quart import Blueprint, Response

from appliance.db.found import found
from appliance.devices.broker_copies import Arrival
from appliance.devices.tenants import Strategy, Tenant, TenantStatus
from appliance.mqtt.topics import valid_id
from appliance.web.api.body import body
from appliance.web.api.describe import answer, describe
from appliance.web.auth import OPERATORS, allow
from appliance.web.services import Services
from appliance.web.tenant_desk import HandedClaim, TenantDesk


class TenantOut(msgspec.Struct, frozen=True):
    """A tenant as it is now."""

    tenant_id: str
    name: str | None
    status: TenantStatus
    provisioning: Annotated[Strategy, msgspec.Meta(description="What becomes of a device never seen before.")]
    claim_enabled: bool
    has_claim: bool
    created_at: datetime
    devices: Annotated[int, msgspec.Meta(description="All that are registered, in whatever status.")]


class TenantList(msgspec.Struct, frozen=True):
    """All tenants, by id."""

    items: list[TenantOut]


class TenantNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to be made."""

    tenant_id: str
    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    time_zone: str = "UTC"
    provisioning: Strategy = Strategy.AUTO


class TenantChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    status: TenantStatus | None = None
    provisioning: Strategy | None = None
    claim_enabled: bool | None = None


class ClaimOut(msgspec.Struct, frozen=True):
    """A claim user, shown this once."""

    tenant_id: str
    claim_username: str
    claim_password: str
    broker: Annotated[Arrival, msgspec.Meta(description="Whether the broker knows it already.")]


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    routes = Blueprint("api_tenants", __name__)
    desk = TenantDesk(services)

    @routes.get("/operator/tenants")
    @allow(OPERATORS)
    @describe("List tenants", answers={HTTPStatus.OK: TenantList})
    async def list_tenants() -> Response:
        return answer(TenantList([_shown(tenant) for tenant in await desk.list_all()]))

    @routes.post("/operator/tenants")
    @allow(OPERATORS)
    @describe("Make a tenant", body=TenantNew, answers={HTTPStatus.CREATED: ClaimOut})
    async def add() -> Response:
        new = await body(TenantNew)
        made = await desk.add(new.tenant_id, new.name, new.time_zone, new.provisioning)
        return answer(_claim(made), HTTPStatus.CREATED, {"Location": f"/operator/tenants/{new.tenant_id}"})

    @routes.get("/operator/tenants/<tenant_id>")
    @allow(OPERATORS)
    @describe("Show a tenant", answers={HTTPStatus.OK: TenantOut})
    async def show(tenant_id: str) -> Response:
        return answer(_shown(await desk.get(tenant_of_path(tenant_id))))

    @routes.patch("/operator/tenants/<tenant_id>")
    @allow(OPERATORS)
    @describe("Suspend, resume or change a tenant", body=TenantChange, answers={HTTPStatus.OK: TenantOut})
    async def change(tenant_id: str) -> Response:
        wanted, tenant_id = await body(TenantChange), tenant_of_path(tenant_id)
        if wanted.status is not None:
            await (desk.suspend(tenant_id) if wanted.status is TenantStatus.SUSPENDED else desk.resume(tenant_id))
        if wanted.provisioning is not None:
            await desk.set_provisioning(tenant_id, wanted.provisioning)
        if wanted.claim_enabled is not None:
            await desk.set_claim(tenant_id, enabled=wanted.claim_enabled)
        return answer(_shown(await desk.get(tenant_id)))

    @routes.post("/operator/tenants/<tenant_id>/rotate-claim")
    @allow(OPERATORS)
    @describe("Make a new claim password; the old one is dead", answers={HTTPStatus.OK: ClaimOut})
    async def rotate_claim(tenant_id: str) -> Response:
        return answer(_claim(await desk.rotate_claim(tenant_of_path(tenant_id))))

    return routes


def tenant_of_path(tenant_id: str) -> str:
    """The id of a tenant. Raises NotFound for what can be none."""
    return found(tenant_id if valid_id(tenant_id) else None, "such tenant")


def _shown(tenant: Tenant) -> TenantOut:
    return TenantOut(**{name: getattr(tenant, name) for name in TenantOut.__struct_fields__})


def _claim(made: HandedClaim) -> ClaimOut:
    claim = made.claim
    return ClaimOut(claim.tenant_id, claim.claim_username, claim.claim_password, made.arrival)
