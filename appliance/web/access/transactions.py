"""Database transactions for requests: under the role of the viewer, for one tenant.

Customers read and change as ``appliance_web``, for which row-level security shows one tenant: the one that is set here,
inside the transaction, so that it cannot outlive it on a pooled connection. Operators use ``appliance_ingest``, which
sees all tenants.

A request with an Idempotency-Key has one transaction for all of its changes, which its answer is kept in
(:mod:`appliance.web.access.idempotency`); every other action has one of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quart import request

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials.broker_sync import CredentialChange, credential_change, this_change
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.web.access import request_transaction
from appliance.web.access.auth import Viewer, viewer
from appliance.web.access.request_transaction import RequestTransaction

STATEMENTS = statements.load("web")


class TenantNotChosen(Invalid):
    """An operator asks for something that belongs to one tenant, and has named none."""

    def __init__(self) -> None:
        super().__init__("Name the tenant: add ?tenant=ID to the address.", "tenant")


@dataclass(frozen=True, slots=True)
class Access:
    """Transactions of the current viewer, or of a given one (for the updates of a WebSocket)."""

    operators: Pool
    """Connections of ``appliance_ingest``."""
    customers: Pool
    """Connections of ``appliance_web``."""
    clock: Clock

    @asynccontextmanager
    async def reading(self, seen_by: Viewer | None = None) -> AsyncIterator[Connection[Any]]:
        """Open a read-only transaction: Postgres refuses changes in it."""
        joined = request_transaction.current() if seen_by is None else None
        if joined is not None and joined.connection is not None and joined.lends(self._pool_of(viewer())):
            yield joined.connection
            return
        async with self._transaction(seen_by or viewer(), "begin_reading") as connection:
            yield connection

    @asynccontextmanager
    async def changing(self, seen_by: Viewer | None = None) -> AsyncIterator[Connection[Any]]:
        """Open a transaction for a change and its audit row; it commits at the end of the block.

        In a request with a transaction of its own, the block is a part of that one, which commits with the answer.
        """
        joined = request_transaction.current() if seen_by is None else None
        if joined is None:
            async with self._transaction(seen_by or viewer(), "begin_changing") as connection:
                yield connection
            return
        async with self._part_of(joined, self._pool_of(viewer())) as connection:
            yield connection

    @asynccontextmanager
    async def changing_account(self) -> AsyncIterator[Connection[Any]]:
        """Open the same for a change of the viewer's own account, under a role that sees all accounts.

        The caller changes nothing but what belongs to the viewer's id.
        """
        joined = request_transaction.current()
        if joined is None:
            async with self.operators.connection() as connection, connection.transaction():
                yield connection
            return
        async with self._part_of(joined, self.operators) as connection:
            yield connection

    @asynccontextmanager
    async def changing_credentials(self) -> AsyncIterator[CredentialChange]:
        """Open a transaction that changes credentials, and wait for the broker after it.

        In a request with a transaction of its own, that one is waited for after its commit; ``sync_status`` is PENDING
        until then.
        """
        joined = request_transaction.current()
        if joined is None:
            async with credential_change(self.changing(), self.operators.connection) as change:
                yield change
            return
        async with self.changing() as connection:
            change = CredentialChange(connection)
            yield change
            if change.concerns_broker:
                joined.broker_change = await this_change(connection)

    def now(self) -> datetime:
        """Return the current time for records, in UTC."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def settled(self) -> datetime:
        """Return the instant by which terms and validity are judged, in UTC."""
        return datetime.fromtimestamp(self.clock.settled(), UTC)

    def context(self) -> ChangeContext:
        """Return the context of a change by the current viewer, now."""
        return ChangeContext(actor(), self.now(), self.settled(), viewer().user_id)

    @asynccontextmanager
    async def _transaction(self, seen_by: Viewer, opening: str) -> AsyncIterator[Connection[Any]]:
        pool = self._pool_of(seen_by)
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(STATEMENTS[opening], {"tenant": seen_by.tenant_id or ""})
            yield connection

    @asynccontextmanager
    async def _part_of(self, joined: RequestTransaction, pool: Pool) -> AsyncIterator[Connection[Any]]:
        """Open a part of the transaction of a request, which an error undoes by itself."""

        async def begin(connection: Connection[Any]) -> None:
            await connection.execute(STATEMENTS["begin_changing"], {"tenant": viewer().tenant_id or ""})

        connection = await joined.join(pool, begin)
        async with connection.transaction():
            yield connection

    def _pool_of(self, seen_by: Viewer) -> Pool:
        return self.operators if seen_by.is_operator else self.customers


def actor() -> Actor:
    """Return the current viewer as the actor of a change."""
    who = viewer()
    if who.token is not None:
        return Actor(f"{who.email} ({who.token})", ActorKind.TOKEN, request.remote_addr)
    return Actor(who.email, ActorKind.USER, request.remote_addr)


def tenant_of(who: Viewer | None = None) -> str:
    """Return the tenant of a change: the viewer's, for operators that of ``?tenant=``.

    Raises TenantNotChosen without one: programs get the error, pages ask for the tenant
    (:mod:`appliance.web.page.tenant_choice`).
    """
    tenant_id = tenants_shown(who)
    if tenant_id is None:
        raise TenantNotChosen
    return tenant_id


def tenants_shown(who: Viewer | None = None) -> str | None:
    """Return the tenant of a list: the viewer's, for operators that of ``?tenant=``, or None for all tenants.

    Raises Invalid for text that is not a valid tenant id.
    """
    who = who or viewer()
    if who.tenant_id is not None:
        return who.tenant_id
    asked = request.args.get("tenant") or None
    if asked is not None and not valid_id(asked):
        raise Invalid("A tenant id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot.", "tenant")
    return asked
