"""Tenants: made, listed, suspended, and the claim user with which their new devices announce themselves.

A claim user is called like its tenant; its password is good for MQTT and, as a bearer token, for HTTP. It may only
write below its tenant, and for no device that has a credential of its own.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from appliance.broker_user import PRIVATE_USER, hash_password, new_secret
from appliance.db import statements
from appliance.db.audit import Actor, Entry, record
from appliance.db.found import found
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import token_hash
from appliance.devices.device import IDENTIFIER, MAX_TEXT
from appliance.errors import Conflict, Invalid

STATEMENTS = statements.load("tenants")


class TenantStatus(StrEnum):
    """Whether messages are taken."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Strategy(StrEnum):
    """What becomes of a device never seen before."""

    AUTO = "auto"
    """It is registered, if there is a free seat."""
    APPROVE = "approve"
    """It waits for a person, and its messages with it."""
    OFF = "off"
    """It is refused; its messages are held."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant as operators see it."""

    tenant_id: str
    name: str | None
    status: TenantStatus
    provisioning: Strategy
    claim_enabled: bool
    has_claim: bool
    """Whether there is a claim password; it works while ``claim_enabled``."""
    created_at: datetime
    devices: int
    """All that are registered, in whatever status."""


@dataclass(frozen=True, slots=True)
class IssuedClaim:
    """A tenant's claim user, this one time."""

    tenant_id: str
    claim_username: str
    claim_password: str = field(repr=False)


async def add(
    connection: Connection[Any],
    tenant_id: str,
    actor: Actor,
    *,
    name: str | None = None,
    provisioning: Strategy = Strategy.AUTO,
    time_zone: str = "UTC",
) -> IssuedClaim:
    """Make a tenant with an open claim user. Raises Invalid for a name none can have; Conflict when it is there."""
    fault = fault_of(tenant_id, name)
    if fault is not None:
        raise Invalid(f"Tenant {tenant_id!r}: {fault}.")
    claim = IssuedClaim(tenant_id, tenant_id, new_secret())
    async with connection.transaction():
        parameters = {"name": name or None, "provisioning": provisioning.value, "zone": time_zone, **_hashes(claim)}
        cursor = await connection.execute(STATEMENTS["insert_tenant"], parameters)
        if not cursor.rowcount:
            raise Conflict(f"Tenant {tenant_id} is there already.")
        after = {"status": TenantStatus.ACTIVE, "provisioning": provisioning}
        await record(connection, Entry(actor, "tenant.create", "tenant", tenant_id, tenant_id, None, after))
    return claim


async def list_all(connection: Connection[Any]) -> list[Tenant]:
    """The tenants that the role may see, by id."""
    cursor = await connection.execute(STATEMENTS["select_all"])
    return [_tenant(row) for row in await cursor.fetchall()]


async def get(connection: Connection[Any], tenant_id: str) -> Tenant:
    """One tenant. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["select_tenant"], {"tenant": tenant_id})
    return _tenant(found(await cursor.fetchone(), f"tenant {tenant_id}"))


async def suspend(connection: Connection[Any], tenant_id: str, actor: Actor) -> Tenant:
    """Refuse the tenant's messages. Its devices stay connected: what they send is counted. Raises NotFound."""
    return await _change(connection, tenant_id, actor, "suspend", status=TenantStatus.SUSPENDED)


async def resume(connection: Connection[Any], tenant_id: str, actor: Actor) -> Tenant:
    """Take the tenant's messages again. Raises NotFound."""
    return await _change(connection, tenant_id, actor, "resume", status=TenantStatus.ACTIVE)


async def set_provisioning(connection: Connection[Any], tenant_id: str, strategy: Strategy, actor: Actor) -> Tenant:
    """Decide what becomes of the tenant's new devices. Raises NotFound."""
    return await _change(connection, tenant_id, actor, "provisioning", provisioning=strategy)


async def set_claim(connection: Connection[Any], tenant_id: str, actor: Actor, *, enabled: bool) -> Tenant:
    """Open or close the claim user; devices that are connected with it are dropped. Raises NotFound."""
    return await _change(connection, tenant_id, actor, "claim", claim_enabled=enabled)


async def rotate_claim(connection: Connection[Any], tenant_id: str, actor: Actor) -> IssuedClaim:
    """A new claim password; the old one is dead at once. Raises NotFound."""
    claim = IssuedClaim(tenant_id, tenant_id, new_secret())
    async with connection.transaction():
        await _locked(connection, tenant_id)
        await connection.execute(STATEMENTS["update_claim"], _hashes(claim))
        await record(connection, Entry(actor, "tenant.rotate_claim", "tenant", tenant_id, tenant_id))
    return claim


def fault_of(tenant_id: str, name: str | None = None) -> str | None:
    """Why there can be no such tenant, in words; None if there can."""
    if not IDENTIFIER.fullmatch(tenant_id):
        return "a tenant id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot"
    if tenant_id == PRIVATE_USER:
        return "this is the name of the appliance's own broker user; choose another"
    if name is not None and (len(name) > MAX_TEXT or "\0" in name):
        return f"a name has at most {MAX_TEXT} characters"
    return None


async def _change(connection: Connection[Any], tenant_id: str, actor: Actor, verb: str, **changes: Any) -> Tenant:
    async with connection.transaction():
        before = await _locked(connection, tenant_id)
        after = replace(before, **changes)
        if after == before:
            return before
        parameters = {
            "tenant": tenant_id,
            "status": after.status.value,
            "provisioning": after.provisioning.value,
            "enabled": after.claim_enabled,
        }
        statement = "open_claim" if after.claim_enabled is not before.claim_enabled else "update_tenant"
        await connection.execute(STATEMENTS[statement], parameters)
        old = {name: getattr(before, name) for name in changes}
        await record(connection, Entry(actor, f"tenant.{verb}", "tenant", tenant_id, tenant_id, old, changes))
    return after


async def _locked(connection: Connection[Any], tenant_id: str) -> Tenant:
    cursor = await connection.execute(STATEMENTS["lock_tenant"], {"tenant": tenant_id})
    return _tenant(found(await cursor.fetchone(), f"tenant {tenant_id}"))


def _tenant(row: tuple[Any, ...]) -> Tenant:
    identity, name, status, provisioning, claim_enabled, has_claim, created_at, devices = row
    return Tenant(
        identity, name, TenantStatus(status), Strategy(provisioning), claim_enabled, has_claim, created_at, devices
    )


def _hashes(claim: IssuedClaim) -> dict[str, Any]:
    return {
        "tenant": claim.tenant_id,
        "mqtt_hash": hash_password(claim.claim_password),
        "token_hash": token_hash(claim.claim_password),
    }
