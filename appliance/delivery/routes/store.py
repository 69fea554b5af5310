"""Routes in the database, as people make, see, change and delete them.

Enters: a connection, and a :class:`RouteDraft`, checked here. Leaves: :class:`KnownRoute`. A change has its audit row
in the same transaction; the role may be ``appliance_web`` with its tenant set. Never: a lock that storing a reading
waits for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import errors

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.locks import lock_key, lock_until_commit
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.delivery.routes.route import DeliverOn, QuietHours, Route
from appliance.delivery.routes.validation import RouteDraft, checked, quiet_of
from appliance.errors import Conflict, Invalid, Outdated
from appliance.severity import Severity

STATEMENTS = statements.load("routes")

MAX_ROUTES = 200
"""Of one tenant: each is asked about each event of an alert."""
MAX_WORDS = 8
"""Words of a search that count."""
LISTS = ("severities", "alert_types", "site_ids", "tags", "device_prefixes", "deliver_on")
PLAIN = ("priority", "stop", "delay_seconds", "remind_minutes", "throttle_seconds", "burst")


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """A filter of routes: each field narrows the choice. Empty matches all."""

    tenant_id: str | None = None
    """None: of all tenants, for operators."""
    integration_id: UUID | None = None
    enabled: bool | None = None
    search: str = ""
    """Words that must all occur in the name."""


class RoutePosition(NamedTuple):
    """A position in a list, after one route."""

    tenant_id: str
    priority: int
    route_id: UUID


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """A route as people see it, with where it leads."""

    route: Route
    integration_name: str | None
    """None: its integration is gone, and it delivers nothing."""
    integration_type: str | None
    integration_enabled: bool

    @property
    def position(self) -> RoutePosition:
        """Return its place in lists: the order in which routes are tried."""
        return RoutePosition(self.route.tenant_id, self.route.priority, self.route.route_id)


async def list_page(
    connection: Connection[Any], wanted: RouteFilter, *, limit: int, after: RoutePosition | None = None
) -> list[KnownRoute]:
    """Return the routes that match, in the order in which they are tried, after a position."""
    return await _select(connection, wanted, limit, after=after)


async def of_tenant(connection: Connection[Any], tenant_id: str) -> list[KnownRoute]:
    """Return all routes of a tenant, in the order in which they are tried."""
    return await _select(connection, RouteFilter(tenant_id), MAX_ROUTES)


async def get(connection: Connection[Any], tenant_id: str, route_id: UUID) -> KnownRoute:
    """Return one route. Raises NotFound."""
    found = await _select(connection, RouteFilter(tenant_id), 1, route_id=route_id)
    return require(found[0] if found else None, "such route")


async def create(
    connection: Connection[Any],
    tenant_id: str,
    draft: RouteDraft,
    context: ChangeContext,
    *,
    alert_types: Collection[str],
) -> KnownRoute:
    """Make a route. Raises Invalid with the field; NotFound; Conflict if the name is taken, and past MAX_ROUTES."""
    async with connection.transaction():
        parameters = await prepared(connection, tenant_id, draft, None, alert_types)
        await lock_until_commit(connection, [lock_key("integration_routes", tenant_id)])
        [(count,)] = await (await connection.execute(STATEMENTS["count_of_tenant"], {"tenant": tenant_id})).fetchall()
        if count >= MAX_ROUTES:
            raise Conflict(f"There are {MAX_ROUTES} routes already, and no more are possible; delete one first.")
        row = await _write(connection, "insert_route", parameters | {"now": context.now})
        made = await get(connection, tenant_id, require(row, "new route")[0])
        await record(connection, _entry(context, "create", made, None, _set(_audited(made))), now=context.now)
    return made


async def change(
    connection: Connection[Any],
    tenant_id: str,
    route_id: UUID,
    draft: RouteDraft,
    context: ChangeContext,
    *,
    version: int | None,
    alert_types: Collection[str],
) -> KnownRoute:
    """Replace a route; what nobody was told yet goes where it leads now, and reminders come when it has them now.

    Raises Invalid with the field; NotFound; Conflict if the name is taken or on another version.
    """
    async with connection.transaction():
        before = await _locked(connection, tenant_id, route_id, version)
        parameters = await prepared(connection, tenant_id, draft, before.route, alert_types)
        kept = _columns(before.route)
        if all(kept[name] == parameters[name] for name in kept):
            return before
        await _write(connection, "update_route", parameters | {"route": route_id, "now": context.now})
        if draft.integration_id != before.route.integration_id:
            moved = {"tenant": tenant_id, "route": route_id, "before": before.route.integration_id}
            await connection.execute(STATEMENTS["lead_jobs"], moved | {"integration_id": draft.integration_id})
        if draft.remind_minutes != before.route.remind_minutes:
            reminders = {"tenant": tenant_id, "route": route_id, "minutes": draft.remind_minutes, "now": context.now}
            await connection.execute(STATEMENTS["move_reminders"], reminders)
        changed = await get(connection, tenant_id, route_id)
        old, new = _audited(before), _audited(changed)
        names = [name for name in old if old[name] != new[name]]
        sides = [{name: side[name] for name in names} for side in (old, new)]
        if names == ["enabled"]:
            entry = _entry(context, "enable" if draft.enabled else "disable", before, *sides)
        else:
            entry = _entry(context, "update", before, *sides)
        await record(connection, entry, now=context.now)
    return changed


async def delete(connection: Connection[Any], tenant_id: str, route_id: UUID, context: ChangeContext) -> None:
    """Delete a route; what it has not delivered yet is skipped. Raises NotFound."""
    async with connection.transaction():
        before = await _locked(connection, tenant_id, route_id, None)
        cursor = await connection.execute(STATEMENTS["delete_route"], {"tenant": tenant_id, "route": route_id})
        require_rows(cursor.rowcount, "such route")
        await record(connection, _entry(context, "delete", before, _set(_audited(before)), None), now=context.now)


async def prepared(
    connection: Connection[Any],
    tenant_id: str,
    draft: RouteDraft,
    before: Route | None,
    alert_types: Collection[str],
) -> dict[str, Any]:
    """Return the columns of a draft that may be written over ``before``. Raises Invalid with the field; NotFound.

    Sites and types of alerts that were named before may be gone since.
    """
    kept_zone = before.quiet.zone if before and before.quiet else None
    draft = checked(draft, dict.fromkeys([*alert_types, *(before.alert_types if before else ())]), kept_zone)
    cursor = await connection.execute(STATEMENTS["zone_of_tenant"], {"tenant": tenant_id})
    zone = require(await cursor.fetchone(), f"tenant {tenant_id}")[0]
    if before is None or draft.integration_id != before.integration_id:
        parameters = {"tenant": tenant_id, "integration": draft.integration_id}
        if await (await connection.execute(STATEMENTS["integration_exists"], parameters)).fetchone() is None:
            raise Invalid("`integration_id`: there is no such integration; list them and take an id.", "integration_id")
    added = sorted(set(draft.site_ids).difference(before.site_ids if before else ()))
    cursor = await connection.execute(STATEMENTS["unknown_sites"], {"tenant": tenant_id, "sites": added})
    missing = await cursor.fetchone()
    if missing is not None:
        raise Invalid(f"`site_ids`: there is no site {missing[0]}; check the id, or leave it out.", "site_ids")
    return _written(draft, quiet_of(draft.quiet, zone)) | {"tenant": tenant_id}


async def _select(
    connection: Connection[Any],
    wanted: RouteFilter,
    limit: int,
    *,
    route_id: UUID | None = None,
    after: RoutePosition | None = None,
) -> list[KnownRoute]:
    parameters = {
        "tenant": wanted.tenant_id,
        "route": route_id,
        "integration": wanted.integration_id,
        "enabled": wanted.enabled,
        "words": wanted.search.lower().split()[:MAX_WORDS],
        "after_tenant": after and after.tenant_id,
        "after_priority": after and after.priority,
        "after_id": after and after.route_id,
        "limit": limit,
    }
    cursor = await connection.execute(STATEMENTS["list_routes"], parameters, prepare=False)
    return [_known(row) for row in await cursor.fetchall()]


async def _locked(connection: Connection[Any], tenant_id: str, route_id: UUID, version: int | None) -> KnownRoute:
    cursor = await connection.execute(STATEMENTS["lock_route"], {"tenant": tenant_id, "route": route_id})
    require(await cursor.fetchone(), "such route")
    kept = await get(connection, tenant_id, route_id)
    if version not in (None, kept.route.version):
        raise Outdated(f"{kept.route.name} was changed by someone else; read it again.")
    return kept


async def _write(connection: Connection[Any], statement: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Write a route; return the row that the statement returns, if it returns one."""
    try:
        async with connection.transaction():
            cursor = await connection.execute(STATEMENTS[statement], parameters)
            row: tuple[Any, ...] | None = None if cursor.description is None else await cursor.fetchone()
    except errors.UniqueViolation:
        raise Conflict(f"There is a route called {parameters['name']} already; choose another name.") from None
    except errors.ForeignKeyViolation:  # it was deleted just now
        raise Invalid("`integration_id`: there is no such integration any more.", "integration_id") from None
    require_rows(cursor.rowcount, "such route")
    return row


def _known(row: tuple[Any, ...]) -> KnownRoute:
    return KnownRoute(route_of(row[:-3]), *row[-3:])


def route_of(row: tuple[Any, ...]) -> Route:
    """Return a row of the table as a route."""
    *head, severities, alert_types, site_ids, tags, prefixes, deliver_on = row[:11]
    tenant_id, route_id, name, enabled, integration_id = head
    priority, stop, delay, remind, throttle, burst, quiet_from, quiet_until, quiet_zone, spares = row[11:21]
    version, created_at, updated_at = row[21:]
    return Route(
        tenant_id,
        route_id,
        name,
        enabled,
        integration_id,
        tuple(severity for severity in Severity if severity.value in severities),
        tuple(alert_types),
        tuple(site_ids),
        tuple(tags),
        tuple(prefixes),
        tuple(event for event in DeliverOn if event.value in deliver_on),
        priority,
        stop,
        delay,
        remind,
        throttle,
        burst,
        None if quiet_from is None else QuietHours(quiet_from, quiet_until, quiet_zone, spares),
        version,
        created_at,
        updated_at,
    )


def _columns(route: Route) -> dict[str, Any]:
    """Return what people say of a route, as it is written."""
    return _written(route, route.quiet)


def _written(route: Route | RouteDraft, quiet: QuietHours | None) -> dict[str, Any]:
    return {
        "name": route.name,
        "enabled": route.enabled,
        "integration_id": route.integration_id,
        **{name: list(map(str, getattr(route, name))) for name in LISTS},
        **{name: getattr(route, name) for name in PLAIN},
        "quiet_from": quiet and quiet.begins,
        "quiet_until": quiet and quiet.ends,
        "quiet_zone": quiet and quiet.zone,
        "quiet_spares_critical": quiet is None or quiet.spares_critical,
    }


def _audited(known: KnownRoute) -> dict[str, Any]:
    """Return a route as the audit shows it; its integration by name, if it has one."""
    fields = _columns(known.route)
    fields["integration"] = known.integration_name or str(fields["integration_id"])
    del fields["integration_id"]
    return {name: value.isoformat("minutes") if isinstance(value, time) else value for name, value in fields.items()}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], 0)}


def _entry(
    context: ChangeContext,
    verb: str,
    known: KnownRoute,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Entry:
    identity = str(known.route.route_id)
    return Entry(context.actor, f"route.{verb}", "route", identity, known.route.tenant_id, before, after)
