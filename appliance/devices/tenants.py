"""Tenants: created, listed, described, limited and suspended; and the claim user with which new devices register.

A claim user has the name of its tenant; its password is valid for MQTT and, as a bearer token, for HTTP. It may publish
only below its tenant, and for no device that has a credential of its own.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Any

from appliance import zones
from appliance.broker.accounts import PRIVATE_USER, hash_password, new_secret
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials.credential import token_hash
from appliance.devices.device import IDENTIFIER, MAX_TEXT, DeviceFault
from appliance.errors import Conflict, Outdated
from appliance.plain_text import is_plain

STATEMENTS = statements.load("tenants")

OWN_TENANT = PRIVATE_USER
"""The appliance itself: its alerts are about the appliance. It has no devices, is in no list, and nobody changes it."""

MAX_RATE = 1e6
"""Messages a second of a device, and messages at once, as the database has it."""
MAX_TENANT_RATE = 1e9
"""Messages a second of all devices of a tenant, as the database has it."""


class TenantStatus(StrEnum):
    """Whether messages are accepted."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    DELETING = "DELETING"
    """It is being deleted with all that belongs to it (:mod:`appliance.offboarding`): nothing brings it back."""


class Strategy(StrEnum):
    """What happens to a new device."""

    AUTO = "auto"
    """It is registered, if there is a free seat."""
    APPROVE = "approve"
    """It waits for approval, and its messages with it."""
    OFF = "off"
    """It is refused; its messages are held."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Limits of a tenant; None leaves the configured one in force."""

    rate: float | None = None
    """Messages a second of each device."""
    burst: int | None = None
    """Messages at once of each device."""
    tenant_rate: float | None = None
    """Messages a second of all devices together; 0 is no limit."""


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
    time_zone: str
    """In which its people see days; sites may have their own."""
    limits: TenantLimits
    version: datetime
    """When it was last described, limited, suspended or resumed."""
    last_heard_at: datetime | None
    """When any message of its devices was last received."""

    @property
    def title(self) -> str:
        """Return the name, else the id."""
        return self.name or self.tenant_id


@dataclass(frozen=True, slots=True)
class IssuedClaim:
    """A tenant's claim user, with the only copy of its password."""

    tenant_id: str
    claim_username: str
    claim_password: str = field(repr=False)


async def add(
    connection: Connection[Any],
    tenant_id: str,
    context: ChangeContext,
    *,
    name: str | None = None,
    provisioning: Strategy,
    time_zone: str,
) -> IssuedClaim:
    """Create a tenant with an open claim user.

    Raises Invalid with the field; Conflict if it exists, or while one of this id is being deleted.
    """
    fault = fault_of(tenant_id) or description_fault_of(name, time_zone, None)
    if fault is not None:
        raise fault.error()
    claim = IssuedClaim(tenant_id, tenant_id, new_secret())
    async with connection.transaction():
        parameters = {"name": name or None, "provisioning": provisioning.value, **_hashes(claim)}
        parameters |= {"zone": zones.stored(time_zone), "now": context.now}
        cursor = await connection.execute(STATEMENTS["lock_deletions"], {"tenant": tenant_id})
        if any(status != "DONE" for (status,) in await cursor.fetchall()):
            raise Conflict(f"The tenant {tenant_id} before this one is still being deleted; try again when it is gone.")
        cursor = await connection.execute(STATEMENTS["insert_tenant"], parameters)
        if not cursor.rowcount:
            raise Conflict(f"Tenant {tenant_id} already exists.")
        after = {"status": TenantStatus.ACTIVE, "provisioning": provisioning}
        entry = Entry(context.actor, "tenant.create", "tenant", tenant_id, tenant_id, None, after)
        await record(connection, entry, now=context.now)
    return claim


async def list_all(connection: Connection[Any]) -> list[Tenant]:
    """Return the tenants that the role may see, by id; never the appliance's own."""
    cursor = await connection.execute(STATEMENTS["select_all"])
    return [_tenant(row) for row in await cursor.fetchall()]


async def list_page(
    connection: Connection[Any],
    *,
    search: str = "",
    status: TenantStatus | None = None,
    limit: int,
    after: str | None = None,
) -> list[Tenant]:
    """Return at most ``limit`` tenants by id, after the id ``after``; ``search`` is part of an id or a name."""
    cursor = await connection.execute(
        STATEMENTS["select_page"],
        {"search": search.lower(), "status": status and status.value, "after": after, "limit": limit},
    )
    return [_tenant(row) for row in await cursor.fetchall()]


async def get(connection: Connection[Any], tenant_id: str) -> Tenant:
    """Return one tenant. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["select_tenant"], {"tenant": tenant_id})
    return _tenant(require(await cursor.fetchone(), f"tenant {tenant_id}"))


async def suspend(connection: Connection[Any], tenant_id: str, context: ChangeContext) -> Tenant:
    """Refuse the tenant's messages. Its devices stay connected; their messages are counted. Raises NotFound."""
    return await _change(connection, tenant_id, context, "suspend", status=TenantStatus.SUSPENDED)


async def resume(connection: Connection[Any], tenant_id: str, context: ChangeContext) -> Tenant:
    """Accept the tenant's messages again. Raises NotFound."""
    return await _change(connection, tenant_id, context, "resume", status=TenantStatus.ACTIVE)


async def set_provisioning(
    connection: Connection[Any], tenant_id: str, strategy: Strategy, context: ChangeContext
) -> Tenant:
    """Set what happens to the tenant's new devices. Raises NotFound."""
    return await _change(connection, tenant_id, context, "provisioning", provisioning=strategy)


async def describe(
    connection: Connection[Any],
    tenant_id: str,
    name: str | None,
    time_zone: str,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> Tenant:
    """Set the name and the time zone of a tenant.

    Raises Invalid with the field; NotFound; Conflict when somebody else has changed it since ``version``.
    """
    kept = (await get(connection, tenant_id)).time_zone
    fault = description_fault_of(name, time_zone, kept)
    if fault is not None:
        raise fault.error()
    changes = {"name": name or None, "time_zone": zones.stored(time_zone)}
    return await _change(connection, tenant_id, context, "describe", version, **changes)


async def set_limits(
    connection: Connection[Any], tenant_id: str, limits: TenantLimits, context: ChangeContext
) -> Tenant:
    """Set or lift the limits of a tenant; ingest knows within a second. Raises Invalid with the field; NotFound."""
    fault = limits_fault_of(limits)
    if fault is not None:
        raise fault.error()
    return await _change(connection, tenant_id, context, "limit", limits=limits)


async def set_claim(connection: Connection[Any], tenant_id: str, context: ChangeContext, *, enabled: bool) -> Tenant:
    """Open or close the claim user; devices that are connected with it are dropped. Raises NotFound."""
    return await _change(connection, tenant_id, context, "claim", claim_enabled=enabled)


async def rotate_claim(connection: Connection[Any], tenant_id: str, context: ChangeContext) -> IssuedClaim:
    """Create a new claim password; the old one stops working at once. Raises NotFound."""
    claim = IssuedClaim(tenant_id, tenant_id, new_secret())
    async with connection.transaction():
        await _locked(connection, tenant_id)
        await connection.execute(STATEMENTS["update_claim"], _hashes(claim))
        entry = Entry(context.actor, "tenant.rotate_claim", "tenant", tenant_id, tenant_id)
        await record(connection, entry, now=context.now)
    return claim


def fault_of(tenant_id: str) -> DeviceFault | None:
    """Return why there can be no tenant of this id; None if there can."""
    if not IDENTIFIER.fullmatch(tenant_id):
        return DeviceFault("tenant_id", "a tenant id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot")
    if tenant_id == OWN_TENANT:
        return DeviceFault("tenant_id", "this name is taken by the appliance itself; choose another")
    return None


def description_fault_of(name: str | None, time_zone: str, kept_zone: str | None) -> DeviceFault | None:
    """Return what is wrong with a description that takes the place of one with ``kept_zone``; None if it is valid."""
    if name is not None and (len(name) > MAX_TEXT or not is_plain(name)):
        return DeviceFault("name", f"a name has at most {MAX_TEXT} characters on one line, all of which can be seen")
    zone_fault = zones.fault_of(time_zone, kept_zone)
    return None if zone_fault is None else DeviceFault("time_zone", zone_fault)


def limits_fault_of(limits: TenantLimits) -> DeviceFault | None:
    """Return what is wrong with the limits; None if they are valid."""
    if limits.rate is not None and not (isfinite(limits.rate) and 0 < limits.rate <= MAX_RATE):
        return DeviceFault("rate", "a rate is a number of messages a second, above 0 and at most a million")
    if limits.burst is not None and not 1 <= limits.burst <= MAX_RATE:
        return DeviceFault("burst", "a burst is a whole number of messages, from 1 to a million")
    if limits.tenant_rate is not None and not (
        isfinite(limits.tenant_rate) and 0 <= limits.tenant_rate <= MAX_TENANT_RATE
    ):
        return DeviceFault(
            "tenant_rate", "the rate of all together is a number of messages a second, or 0 for no limit"
        )
    return None


async def _change(
    connection: Connection[Any],
    tenant_id: str,
    context: ChangeContext,
    verb: str,
    version: datetime | None = None,
    **changes: Any,
) -> Tenant:
    """Change the fields ``changes``, with an audit row; do nothing if they have these values already."""
    async with connection.transaction():
        before = await _locked(connection, tenant_id)
        if version not in (None, before.version):
            raise Outdated(f"Tenant {tenant_id} was changed by someone else; reload the page.")
        wanted = replace(before, **changes)
        if wanted == before:
            return before
        parameters = {
            "tenant": tenant_id,
            "name": wanted.name,
            "zone": wanted.time_zone,
            "status": wanted.status.value,
            "provisioning": wanted.provisioning.value,
            "rate": wanted.limits.rate,
            "burst": wanted.limits.burst,
            "tenant_rate": wanted.limits.tenant_rate,
            "enabled": wanted.claim_enabled,
            "now": context.now,
        }
        statement = "open_claim" if wanted.claim_enabled is not before.claim_enabled else "update_tenant"
        await connection.execute(STATEMENTS[statement], parameters)
        old, new = (_notify(tenant, changes) for tenant in (before, wanted))
        entry = Entry(context.actor, f"tenant.{verb}", "tenant", tenant_id, tenant_id, old, new)
        await record(connection, entry, now=context.now)
        return await get(connection, tenant_id)


def _notify(tenant: Tenant, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``names`` for the audit row; limits one by one."""
    told: dict[str, Any] = {}
    for name in names:
        told |= asdict(tenant.limits) if name == "limits" else {name: getattr(tenant, name)}
    return told


async def _locked(connection: Connection[Any], tenant_id: str) -> Tenant:
    cursor = await connection.execute(STATEMENTS["lock_tenant"], {"tenant": tenant_id})
    tenant = _tenant(require(await cursor.fetchone(), f"tenant {tenant_id}"))
    if tenant.status is TenantStatus.DELETING:
        raise Conflict(f"Tenant {tenant_id} is being deleted: nothing of it can be changed.")
    return tenant


def _tenant(row: tuple[Any, ...]) -> Tenant:
    identity, name, status, provisioning, enabled, has_claim, created_at, devices, zone, *limits, version, heard = row
    rate, burst, tenant_rate = limits
    return Tenant(
        identity,
        name,
        TenantStatus(status),
        Strategy(provisioning),
        enabled,
        has_claim,
        created_at,
        devices,
        zone,
        TenantLimits(rate, None if burst is None else int(burst), tenant_rate),
        version,
        heard,
    )


def _hashes(claim: IssuedClaim) -> dict[str, Any]:
    return {
        "tenant": claim.tenant_id,
        "mqtt_hash": hash_password(claim.claim_password),
        "token_hash": token_hash(claim.claim_password),
    }
