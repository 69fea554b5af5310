"""The credential of a device: the password of its broker user and its HTTP token.

Enters: a device and the context of the change. Leaves: secrets, once, in :class:`IssuedSecrets`; only their hashes are
kept. Never: two passwords of one broker user at a time. So a rotation is staged: the new password is shown, and the old
one works until the switch, by hand or at a set time; the token before a rotation is valid for another day. Revoking or
deleting a device removes its credential in the same transaction (:mod:`appliance.devices.seats.changes`).

Functions make a transaction, or a savepoint in the one they are in; the role may be ``appliance_web`` with its tenant
set.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from appliance.broker.accounts import device_user, hash_password, new_secret
from appliance.db import statements
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import DeviceStatus
from appliance.errors import Conflict

STATEMENTS = statements.load("credentials")

PREVIOUS_TOKEN = timedelta(hours=24)
"""How long the HTTP token before a rotation stays valid."""

CREDENTIAL_SCHEDULER = Actor("credentials", ActorKind.APPLIANCE)
"""The actor that switches to a staged password when its time has come."""

MAY_HAVE_ONE = frozenset({DeviceStatus.ACTIVE, DeviceStatus.INACTIVE})


@dataclass(frozen=True, slots=True)
class IssuedSecrets:
    """The only copy of a device's secrets."""

    tenant_id: str
    device_id: str
    username: str
    """Of its broker user."""
    password: str = field(repr=False)
    """For MQTT."""
    token: str = field(repr=False)
    """For HTTP."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new password takes over from the old one."""

    at: datetime | None = None
    """None: when a person switches."""
    now: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential without its secrets."""

    created_at: datetime
    rotated_at: datetime | None
    previous_token_until: datetime | None
    staged_at: datetime | None
    """When the new password was staged that waits for the switch."""
    switch_at: datetime | None
    last_used_at: datetime | None


def token_hash(token: str) -> bytes:
    """Return the hash under which a token, or a claim password for HTTP, is kept: SHA-256, since it is random."""
    return hashlib.sha256(token.encode()).digest()


async def create(connection: Connection[Any], tenant_id: str, device_id: str, context: ChangeContext) -> IssuedSecrets:
    """Create the first credential of a device. Raises NotFound; Conflict if it has one, or is not in service."""
    async with connection.transaction():
        _check(await _status(connection, tenant_id, device_id), device_id)
        issued = await create_many(connection, tenant_id, [device_id], context)
    if not issued:
        raise Conflict(f"Device {device_id} has a credential already; rotate it for a new one.")
    return issued[0]


async def create_many(
    connection: Connection[Any], tenant_id: str, devices: Iterable[str], context: ChangeContext
) -> list[IssuedSecrets]:
    """Create credentials for those of ``devices`` that are in service and have none; return them in order of id."""
    async with connection.transaction():
        statuses = await _statuses(connection, tenant_id, devices)
        fresh = [_issue(tenant_id, device) for device, status in statuses.items() if status in MAY_HAVE_ONE]
        parameters = {
            "tenant": tenant_id,
            "devices": [issued.device_id for issued in fresh],
            "mqtt_hashes": [hash_password(issued.password) for issued in fresh],
            "token_hashes": [token_hash(issued.token) for issued in fresh],
            "now": context.now,
        }
        cursor = await connection.execute(STATEMENTS["insert_credentials"], parameters)
        made = {row[0] for row in await cursor.fetchall()}
        issued = [one for one in fresh if one.device_id in made]
        entries = [_entry(context.actor, "create", one.tenant_id, one.device_id) for one in issued]
        await record(connection, *entries, now=context.now)
    return issued


async def rotate(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    context: ChangeContext,
    rotation: Rotation | None = None,
) -> IssuedSecrets:
    """Create a new password and a new token. The password waits for its switch, the token is valid at once.

    A device without a credential of its own gets its first one, which waits for nothing. A staged password that was
    never switched to is forgotten. Raises NotFound; Conflict when the device is not in service.
    """
    rotation = rotation or Rotation()
    async with connection.transaction():
        _check(await _status(connection, tenant_id, device_id), device_id)
        issued = _issue(tenant_id, device_id)
        parameters = {
            "tenant": tenant_id,
            "device": device_id,
            "mqtt_hash": hash_password(issued.password),
            "token_hash": token_hash(issued.token),
            "until": context.now + PREVIOUS_TOKEN,
            "now": context.now,
            "switch_at": rotation.at,
        }
        cursor = await connection.execute(STATEMENTS["rotate_credential"], parameters)
        if not cursor.rowcount:
            return await create(connection, tenant_id, device_id, context)
        after = {"switch_at": rotation.at} if rotation.at else None
        await record(connection, _entry(context.actor, "rotate", tenant_id, device_id, after), now=context.now)
        if rotation.now:
            await switch(connection, tenant_id, device_id, context)
    return issued


async def switch(connection: Connection[Any], tenant_id: str, device_id: str, context: ChangeContext) -> None:
    """Let the staged password take over now: the broker drops whoever is connected with the old one.

    Raises NotFound; Conflict when none is staged.
    """
    async with connection.transaction():
        await _status(connection, tenant_id, device_id)
        parameters = {"tenant": tenant_id, "device": device_id}
        cursor = await connection.execute(STATEMENTS["switch_credential"], parameters)
        if not cursor.rowcount:
            raise Conflict(f"Device {device_id} has no new password waiting; rotate its credential first.")
        await record(connection, _entry(context.actor, "switch", tenant_id, device_id), now=context.now)


async def switch_due(connection: Connection[Any], now: datetime) -> int:
    """Switch to the staged passwords whose time has come; return their number."""
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["switch_due"], {"now": now})
        due = sorted(await cursor.fetchall())
        entries = [_entry(CREDENTIAL_SCHEDULER, "switch", tenant, device) for tenant, device in due]
        await record(connection, *entries, now=now)
    return len(due)


async def get(connection: Connection[Any], tenant_id: str, device_id: str) -> Credential | None:
    """Return a device's credential without its secrets; None while it has none of its own."""
    parameters = {"tenant": tenant_id, "device": device_id}
    cursor = await connection.execute(STATEMENTS["select_credential"], parameters)
    row = await cursor.fetchone()
    return None if row is None else Credential(*row)


def _issue(tenant_id: str, device_id: str) -> IssuedSecrets:
    return IssuedSecrets(tenant_id, device_id, device_user(tenant_id, device_id), new_secret(), new_secret())


async def _statuses(connection: Connection[Any], tenant_id: str, devices: Iterable[str]) -> dict[str, DeviceStatus]:
    """Return the statuses of the devices that exist, locked in order of id."""
    parameters = {"tenant": tenant_id, "devices": sorted(set(devices))}
    cursor = await connection.execute(STATEMENTS["lock_statuses"], parameters)
    return {device: DeviceStatus(status) for device, status in await cursor.fetchall()}


async def _status(connection: Connection[Any], tenant_id: str, device_id: str) -> DeviceStatus:
    status = (await _statuses(connection, tenant_id, [device_id])).get(device_id)
    return require(None if status is DeviceStatus.DECOMMISSIONED else status, f"device {device_id}")


def _check(status: DeviceStatus, device_id: str) -> None:
    if status not in MAY_HAVE_ONE:
        mend = "approve it first" if status is DeviceStatus.PENDING else "reactivate it first"
        raise Conflict(f"Device {device_id} is {status}; {mend}.")


def _entry(actor: Actor, verb: str, tenant_id: str, device_id: str, after: dict[str, Any] | None = None) -> Entry:
    return Entry(actor, f"credential.{verb}", "device", device_id, tenant_id, None, after)
