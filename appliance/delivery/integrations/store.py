"""Integrations in the database, as people make, see, change and delete them.

Enters: a connection, and a :class:`SealedDraft`, whose configuration its type has checked and whose secrets are sealed.
Leaves: :class:`KnownIntegration`. A change has its audit row in the same transaction, in which no secret stands; the
role may be ``appliance_web`` with its tenant set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import errors

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.locks import lock_key, lock_until_commit
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.senders.sender import Verdict
from appliance.errors import Conflict, Outdated

STATEMENTS = statements.load("integrations")

MAX_INTEGRATIONS = 100
"""Of one tenant: each has a queue of its own."""
MAX_WORDS = 8
"""Words of a search that count."""
_COLUMNS = 12
"""Columns of an integration in a row, in the order of :class:`Integration`."""


@dataclass(frozen=True, slots=True)
class IntegrationFilter:
    """A filter of integrations: each field narrows the choice. Empty matches all."""

    tenant_id: str | None = None
    """None: of all tenants, for operators."""
    types: Sequence[str] = ()
    enabled: bool | None = None
    search: str = ""
    """Words that must all occur in the name."""


class IntegrationPosition(NamedTuple):
    """A position in a list, after one integration."""

    tenant_id: str
    name: str
    integration_id: UUID


@dataclass(frozen=True, slots=True)
class KnownIntegration:
    """An integration as people see it, with how deliveries to it go."""

    integration: Integration
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    failing_since: datetime | None
    unreachable_since: datetime | None
    routes: int
    """How many routes lead to it."""
    position: IntegrationPosition


@dataclass(frozen=True, slots=True)
class SealedDraft:
    """An integration as it is to be written."""

    name: str
    enabled: bool
    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    """Sealed, base64."""
    concurrency: int
    changed_secrets: Sequence[str] = ()
    """The names of those that are new or gone, for the audit."""


async def list_page(
    connection: Connection[Any], wanted: IntegrationFilter, *, limit: int, after: IntegrationPosition | None = None
) -> list[KnownIntegration]:
    """Return the integrations that match, by tenant and name, after a position."""
    return await _select(connection, wanted, limit, after=after)


async def get(connection: Connection[Any], tenant_id: str, integration_id: UUID) -> KnownIntegration:
    """Return one integration. Raises NotFound."""
    found = await _select(connection, IntegrationFilter(tenant_id), 1, integration_id=integration_id)
    return require(found[0] if found else None, "such integration")


async def create(
    connection: Connection[Any],
    tenant_id: str,
    integration_id: UUID,
    kind: str,
    draft: SealedDraft,
    context: ChangeContext,
) -> KnownIntegration:
    """Make an integration. Raises NotFound for the tenant; Conflict if the name is taken, and past MAX_INTEGRATIONS."""
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["tenant_exists"], {"tenant": tenant_id})
        require(await cursor.fetchone(), f"tenant {tenant_id}")
        await lock_until_commit(connection, [lock_key("integrations", tenant_id)])
        [(count,)] = await (await connection.execute(STATEMENTS["count_of_tenant"], {"tenant": tenant_id})).fetchall()
        if count >= MAX_INTEGRATIONS:
            raise Conflict(
                f"There are {MAX_INTEGRATIONS} integrations already, and no more are possible; delete one first."
            )
        parameters = _parameters(tenant_id, integration_id, draft, context) | {"type": kind}
        await _write(connection, "insert_integration", parameters)
        made = await get(connection, tenant_id, integration_id)
        after = _audited(made.integration, draft.changed_secrets)
        await record(connection, _entry(context, "create", made.integration, None, after), now=context.now)
    return made


async def change(
    connection: Connection[Any],
    tenant_id: str,
    integration_id: UUID,
    draft: SealedDraft,
    context: ChangeContext,
    *,
    version: int | None,
) -> KnownIntegration:
    """Replace what people say of an integration; what failed before is tried again at once.

    Raises NotFound; Conflict if the name is taken or somebody else has changed it since ``version``.
    """
    async with connection.transaction():
        before = await _locked(connection, tenant_id, integration_id, version)
        kept = before.integration
        wanted = (draft.name, draft.enabled, dict(draft.config), dict(draft.secrets), draft.concurrency)
        if wanted == (kept.name, kept.enabled, dict(kept.config), dict(kept.secrets), kept.concurrency):
            return before
        parameters = _parameters(tenant_id, integration_id, draft, context)
        await _write(connection, "update_integration", parameters)
        await connection.execute(STATEMENTS["close_breaker"], {"tenant": tenant_id, "integration": integration_id})
        changed = await get(connection, tenant_id, integration_id)
        old, new = _audited(kept, ()), _audited(changed.integration, draft.changed_secrets)
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        sides = [{name: side.get(name) for name in names} for side in (old, new)]
        if names == ["enabled"]:
            entry = _entry(context, "enable" if draft.enabled else "disable", kept, *sides)
        else:
            entry = _entry(context, "update", kept, *sides)
        await record(connection, entry, now=context.now)
    return changed


async def delete(connection: Connection[Any], tenant_id: str, integration_id: UUID, context: ChangeContext) -> None:
    """Delete an integration. Raises NotFound; Conflict, which names them, while routes lead to it.

    Whoever makes a route holds the integration until the commit, so that none is made meanwhile.
    """
    async with connection.transaction():
        before = await _locked(connection, tenant_id, integration_id, None)
        parameters = {"tenant": tenant_id, "integration": integration_id}
        cursor = await connection.execute(STATEMENTS["routes_of_integration"], parameters)
        names = [name for (name,) in await cursor.fetchall()]
        if names:
            raise Conflict(_in_use(before.integration.name, names))
        cursor = await connection.execute(STATEMENTS["delete_integration"], parameters)
        require_rows(cursor.rowcount, "such integration")
        entry = _entry(context, "delete", before.integration, _audited(before.integration, ()), None)
        await record(connection, entry, now=context.now)


async def record_test(
    connection: Connection[Any], integration: Integration, verdict: str, context: ChangeContext
) -> None:
    """Write into the audit that somebody sent a sample, and what came of it; one that was delivered ends a pause."""
    if verdict == Verdict.DELIVERED:
        parameters = {"tenant": integration.tenant_id, "integration": integration.integration_id}
        await connection.execute(STATEMENTS["note_sample"], parameters)
    await record(connection, _entry(context, "test", integration, None, {"outcome": verdict}), now=context.now)


async def record_trial(
    connection: Connection[Any],
    tenant_id: str,
    integration_id: UUID | None,
    name: str,
    verdict: str,
    context: ChangeContext,
) -> None:
    """Write into the audit that somebody sent a sample by values that are not saved; a new one is known by its name."""
    identity = name if integration_id is None else str(integration_id)
    after = {"outcome": verdict, "saved": False}
    entry = Entry(context.actor, "integration.try", "integration", identity, tenant_id, None, after)
    await record(connection, entry, now=context.now)


def _in_use(name: str, routes: Sequence[str]) -> str:
    what = f"route {routes[0]} leads" if len(routes) == 1 else f"routes {', '.join(routes)} lead"
    return f"{name} is in use: the {what} to it. Delete them or let them lead somewhere else first."


async def _select(
    connection: Connection[Any],
    wanted: IntegrationFilter,
    limit: int,
    *,
    integration_id: UUID | None = None,
    after: IntegrationPosition | None = None,
) -> list[KnownIntegration]:
    parameters = {
        "tenant": wanted.tenant_id,
        "integration": integration_id,
        "types": list(wanted.types),
        "enabled": wanted.enabled,
        "words": wanted.search.lower().split()[:MAX_WORDS],
        "after_tenant": after and after.tenant_id,
        "after_name": after and after.name,
        "after_id": after and after.integration_id,
        "limit": limit,
    }
    cursor = await connection.execute(STATEMENTS["list_integrations"], parameters, prepare=False)
    return [_known(row) for row in await cursor.fetchall()]


async def _locked(
    connection: Connection[Any], tenant_id: str, integration_id: UUID, version: int | None
) -> KnownIntegration:
    parameters = {"tenant": tenant_id, "integration": integration_id}
    cursor = await connection.execute(STATEMENTS["lock_integration"], parameters)
    require(await cursor.fetchone(), "such integration")
    kept = await get(connection, tenant_id, integration_id)
    if version not in (None, kept.integration.version):
        raise Outdated(f"{kept.integration.name} was changed by someone else; read it again.")
    return kept


async def _write(connection: Connection[Any], statement: str, parameters: Mapping[str, Any]) -> None:
    try:
        async with connection.transaction():
            cursor = await connection.execute(STATEMENTS[statement], parameters)
    except errors.UniqueViolation:
        raise Conflict(f"There is an integration called {parameters['name']} already; choose another name.") from None
    require_rows(cursor.rowcount, "such integration")


def _parameters(tenant_id: str, integration_id: UUID, draft: SealedDraft, context: ChangeContext) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "integration": integration_id,
        "name": draft.name,
        "enabled": draft.enabled,
        "config": msgspec.json.encode(draft.config).decode(),
        "secrets": msgspec.json.encode(draft.secrets).decode(),
        "concurrency": draft.concurrency,
        "now": context.now,
    }


def _known(row: tuple[Any, ...]) -> KnownIntegration:
    integration = integration_of(row[:_COLUMNS])
    success, failure, error, failing_since, unreachable_since, routes, name = row[_COLUMNS:]
    position = IntegrationPosition(integration.tenant_id, name, integration.integration_id)
    return KnownIntegration(integration, success, failure, error, failing_since, unreachable_since, routes, position)


def integration_of(row: tuple[Any, ...]) -> Integration:
    """Return a row of the table as an integration, ``config`` and ``secrets`` as text."""
    values = list(row)
    values[6], values[7] = msgspec.json.decode(row[6]), msgspec.json.decode(row[7])
    return Integration(*values)


def _audited(integration: Integration, secrets: Sequence[str]) -> dict[str, Any]:
    """Return what the audit shows: of secrets, which ones were set or removed."""
    fields = {
        "name": integration.name,
        "type": integration.type,
        "enabled": integration.enabled,
        "concurrency": integration.concurrency,
        **integration.config,
        "changed_secrets": list(secrets),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _entry(
    context: ChangeContext,
    verb: str,
    integration: Integration,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Entry:
    identity = str(integration.integration_id)
    return Entry(context.actor, f"integration.{verb}", "integration", identity, integration.tenant_id, before, after)
