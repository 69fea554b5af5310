"""The record of a deletion: asked for, read, and brought to its end. Role ``appliance_ingest``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Outdated

STATEMENTS = statements.load("offboarding")

OFFBOARDING_CHANNEL = "appliance_leaving"
"""The channel that names each tenant when it is removed: what was in memory of it is not for the next one of its id."""

CLOSING = ("delete_credentials", "end_sessions", "end_tokens", "end_links", "disable_users", "disable_integrations")
"""What ends with the request, each a statement: whoever could still come in, and whatever could still go out."""


class DeletionStatus(StrEnum):
    """How far a deletion is."""

    RUNNING = "RUNNING"
    """Rows are being deleted."""
    CHECKING = "CHECKING"
    """The tenant is gone; what may have come in last is looked for."""
    DONE = "DONE"
    """No row of the tenant was left in any table."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion of a tenant."""

    deletion_id: int
    tenant_id: str
    name: str | None
    status: DeletionStatus
    requested_at: datetime
    requested_by: str
    expected: Mapping[str, int] | None
    """Rows by table, counted before the first slice; None while they are not counted."""
    deleted: Mapping[str, int]
    """Rows deleted so far, by table."""
    beat_at: datetime | None
    """When it went on last."""
    removed_at: datetime | None
    finished_at: datetime | None

    @property
    def title(self) -> str:
        """Return the name, else the id."""
        return self.name or self.tenant_id

    @property
    def rows_deleted(self) -> int:
        """Return how many rows are gone."""
        return sum(self.deleted.values())

    @property
    def rows_expected(self) -> int | None:
        """Return how many rows there were; at least those that are gone."""
        return None if self.expected is None else max(sum(self.expected.values()), self.rows_deleted)


async def request(
    connection: Connection[Any], tenant_id: str, context: ChangeContext, *, version: datetime | None
) -> int:
    """Begin the deletion of a tenant, and return its id. Call it in a transaction of ``changing_credentials``.

    Raises NotFound; Outdated when the tenant was changed since ``version``; Conflict when it is being deleted.
    """
    cursor = await connection.execute(STATEMENTS["lock_tenant"], {"tenant": tenant_id})
    name, status, changed_at = require(await cursor.fetchone(), f"tenant {tenant_id}")
    if status == "DELETING":
        raise Conflict(f"Tenant {tenant_id} is being deleted already.")
    if version not in (None, changed_at):
        raise Outdated(f"Tenant {tenant_id} was changed by someone else; reload the page.")
    parameters = {"tenant": tenant_id, "name": name, "now": context.now, "by": context.actor.name}
    await connection.execute(STATEMENTS["close_tenant"], parameters)
    for statement in CLOSING:
        await connection.execute(STATEMENTS[statement], parameters)
    cursor = await connection.execute(STATEMENTS["insert_deletion"], parameters)
    deletion_id: int = require(await cursor.fetchone(), "the deletion")[0]
    # Of no tenant: it stays when the rows of the tenant go.
    before, after = {"name": name, "status": status}, {"status": "DELETING"}
    entry = Entry(context.actor, "tenant.delete", "tenant", tenant_id, None, before, after)
    await record(connection, entry, now=context.now)
    return deletion_id


async def get(connection: Connection[Any], deletion_id: int) -> Deletion:
    """Return one deletion. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["select_deletion"], {"deletion": deletion_id})
    return _deletion(require(await cursor.fetchone(), f"deletion {deletion_id}"))


@dataclass(frozen=True, slots=True)
class TenantCounts:
    """How much goes with a tenant, of what people know by number."""

    devices: int
    """Registered ones in any status."""
    users: int
    rules: int
    integrations: int
    open_alerts: int
    """Of which nobody is told that they end."""


async def count_tenant(connection: Connection[Any], tenant_id: str) -> TenantCounts:
    """Return how much would go with a tenant. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["count_tenant"], {"tenant": tenant_id})
    return TenantCounts(*require(await cursor.fetchone(), f"tenant {tenant_id}"))


async def under_way(connection: Connection[Any], tenant_id: str) -> int | None:
    """Return the id of the deletion of a tenant that is not done; None if there is none."""
    cursor = await connection.execute(STATEMENTS["deletion_of_tenant"], {"tenant": tenant_id})
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def list_page(connection: Connection[Any], *, limit: int, after: int | None) -> list[Deletion]:
    """Return at most ``limit`` deletions, newest first, before the id ``after``."""
    cursor = await connection.execute(STATEMENTS["list_deletions"], {"limit": limit, "after": after})
    return [_deletion(row) for row in await cursor.fetchall()]


async def rows_left(connection: Connection[Any], tenant_id: str) -> list[str]:
    """Return the tables that have rows of a tenant, by name; its own row does not count."""
    cursor = await connection.execute(STATEMENTS["rows_left"], {"tenant": tenant_id})
    return [row[0] for row in await cursor.fetchall()]


async def advance(connection: Connection[Any], deletion_id: int, now: datetime) -> DeletionStatus:
    """Take the next step of a deletion of which no row was seen, if all tables agree, and return its status.

    One transaction. RUNNING: the tenant's own row goes. CHECKING: it is done, unless a transaction that was open then
    still is. Raises psycopg.errors.ForeignKeyViolation when a row was added meanwhile.
    """
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["lock_deletion"], {"deletion": deletion_id})
        tenant_id, text, settled, deleted = require(await cursor.fetchone(), f"deletion {deletion_id}")
        status, parameters = DeletionStatus(text), {"deletion": deletion_id, "tenant": tenant_id, "now": now}
        if status is DeletionStatus.RUNNING:
            await connection.execute(STATEMENTS["lock_tenant"], parameters)
        if status is DeletionStatus.DONE or await rows_left(connection, tenant_id):
            return status
        if status is DeletionStatus.RUNNING:
            await connection.execute(STATEMENTS["delete_tenant"], parameters)
            await connection.execute(STATEMENTS["set_checking"], parameters)
            await connection.execute(STATEMENTS["tell_removed"], {"channel": OFFBOARDING_CHANNEL, "tenant": tenant_id})
            return DeletionStatus.CHECKING
        if not settled:
            return status
        await connection.execute(STATEMENTS["set_done"], parameters)
        after = {"rows": sum(msgspec.json.decode(deleted).values())}
        actor = Actor("tenant deletion", ActorKind.APPLIANCE)
        await record(connection, Entry(actor, "tenant.deleted", "tenant", tenant_id, None, None, after), now=now)
        return DeletionStatus.DONE


def _deletion(row: tuple[Any, ...]) -> Deletion:
    identity, tenant_id, name, status, requested_at, requested_by, expected, deleted, *times = row
    return Deletion(
        identity,
        tenant_id,
        name,
        DeletionStatus(status),
        requested_at,
        requested_by,
        None if expected is None else msgspec.json.decode(expected),
        msgspec.json.decode(deleted),
        *times,
    )
