"""Database transactions for requests: under the role of the viewer, for one tenant.

Customers read and change as ``appliance_web``, for which row-level security shows one tenant: the one that is set here,
inside the transaction, so that it cannot outlive it on a pooled connection. Operators use ``appliance_ingest``, which
sees all tenants.
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
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.web.access.auth import Viewer, viewer

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
        async with self._transaction(seen_by or viewer(), "begin_reading") as connection:
            yield connection

    @asynccontextmanager
    async def changing(self, seen_by: Viewer | None = None) -> AsyncIterator[Connection[Any]]:
        """Open a transaction for a change and its audit row; it commits at the end of the block."""
        async with self._transaction(seen_by or viewer(), "begin_changing") as connection:
            yield connection

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
        pool = self.operators if seen_by.is_operator else self.customers
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(STATEMENTS[opening], {"tenant": seen_by.tenant_id or ""})
            yield connection


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
