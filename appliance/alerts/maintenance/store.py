"""Rows of ``maintenance_windows``: read, made, changed, ended and deleted.

Changes have their audit row in the same transaction; the role may be ``appliance_web`` with its tenant set.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from appliance import zones
from appliance.alerts.maintenance.occurrences import active_at, over_at
from appliance.alerts.maintenance.validation import check_texts, check_times, unknown
from appliance.alerts.maintenance.window import (
    WEEKDAYS,
    Coverage,
    Once,
    Schedule,
    Weekday,
    Weekly,
    Window,
    WindowDraft,
)
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.locks import lock_key, lock_until_commit
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.devices.seats.changes import check_tenant
from appliance.errors import Conflict, Invalid, Outdated

STATEMENTS = statements.load("maintenance")

MAX_WINDOWS = 1000
"""Of one tenant, those that are over included."""
KEEP_ENDED = timedelta(days=90)
"""How long a window that is over can be looked at and repeated; the page says so."""
MAX_LISTED = 20_000
"""Windows that one list reads, of all tenants together."""


async def of_tenant(connection: Connection[Any], tenant_id: str | None) -> list[Window]:
    """Return all windows of a tenant, or of every tenant for None."""
    cursor = await connection.execute(STATEMENTS["select_windows"], {"tenant": tenant_id, "limit": MAX_LISTED})
    return [window_of(row) for row in await cursor.fetchall()]


async def not_over(connection: Connection[Any], tenants: Sequence[str] | None, now: datetime) -> list[Window]:
    """Return the windows of these tenants, or of all for None, that are active now or will be."""
    parameters = {"tenants": None if tenants is None else list(tenants), "now": now}
    cursor = await connection.execute(STATEMENTS["select_windows_not_over"], parameters)
    return [window_of(row) for row in await cursor.fetchall()]


async def get(connection: Connection[Any], tenant_id: str, window_id: UUID) -> Window:
    """Return one window. Raises NotFound."""
    parameters = {"tenant": tenant_id, "window": window_id}
    cursor = await connection.execute(STATEMENTS["select_window"], parameters)
    return window_of(require(await cursor.fetchone(), "such maintenance window"))


async def zone_for(connection: Connection[Any], tenant_id: str, coverage: Coverage) -> str:
    """Return the zone of the site if exactly one is covered and nothing else, else that of the tenant.

    Raises NotFound without such a tenant.
    """
    alone = len(coverage.site_ids) == 1 and not coverage.tags and not coverage.device_ids
    parameters = {"tenant": tenant_id, "site": coverage.site_ids[0] if alone else None}
    cursor = await connection.execute(STATEMENTS["zone_of_scope"], parameters)
    [zone] = require(await cursor.fetchone(), f"tenant {tenant_id}")
    return str(zone)


async def counts_of(connection: Connection[Any], windows: Iterable[Window]) -> dict[UUID, int]:
    """Return the number of devices that each of these windows covers, by its id."""
    listed = list(windows)
    parameters = {"tenants": [one.tenant_id for one in listed], "windows": [one.window_id for one in listed]}
    return dict(await (await connection.execute(STATEMENTS["count_covered"], parameters)).fetchall())


async def count_covered(connection: Connection[Any], tenant_id: str, coverage: Coverage) -> int:
    """Return the number of devices that a coverage is about now."""
    parameters = {"tenant": tenant_id, "everything": coverage.everything, **_lists(coverage)}
    [(count,)] = await (await connection.execute(STATEMENTS["count_devices"], parameters)).fetchall()
    return int(count)


async def sharing(
    connection: Connection[Any], tenant_id: str, coverage: Coverage, windows: Iterable[Window]
) -> list[Window]:
    """Return those of ``windows`` that cover something that a coverage is about, too."""
    listed = list(windows)
    parameters = {
        "tenant": tenant_id,
        "windows": [one.window_id for one in listed],
        "everything": coverage.everything,
        **_lists(coverage),
    }
    shared = {key for (key,) in await (await connection.execute(STATEMENTS["select_sharing"], parameters)).fetchall()}
    return [one for one in listed if one.window_id in shared]


async def create(connection: Connection[Any], tenant_id: str, draft: WindowDraft, context: ChangeContext) -> Window:
    """Make a window. Raises Invalid with the field; Conflict at the limit of a tenant; NotFound without a tenant."""
    async with connection.transaction():
        await check_tenant(connection, tenant_id)
        zone = await checked(connection, tenant_id, draft, context.settled.timestamp())
        await lock_until_commit(connection, [lock_key("maintenance", tenant_id)])
        [(count,)] = await (await connection.execute(STATEMENTS["count_windows"], {"tenant": tenant_id})).fetchall()
        if count >= MAX_WINDOWS:
            raise Conflict(f"A tenant has at most {MAX_WINDOWS:,} maintenance windows. Delete some that ended.")
        parameters = _parameters(tenant_id, draft, zone, None) | {"now": context.now, "actor": context.actor.name}
        [(window_id,)] = await (await connection.execute(STATEMENTS["insert_window"], parameters)).fetchall()
        made = await get(connection, tenant_id, window_id)
        await record(connection, _entry(context, "create", None, made), now=context.now)
        return made


async def change(
    connection: Connection[Any],
    tenant_id: str,
    window_id: UUID,
    draft: WindowDraft,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> Window:
    """Replace what people say of a window.

    Times are judged only when they change, so that the name of one that is over can be mended. With other times, what
    a person ended may start again. Raises Invalid with the field; NotFound; Conflict if it has changed since
    ``version``.
    """
    async with connection.transaction():
        before = await _locked(connection, tenant_id, window_id, version)
        zone = await checked(connection, tenant_id, draft, context.settled.timestamp(), before)
        moved = (draft.schedule, zone) != (before.schedule, before.time_zone)
        wanted = replace(
            before,
            name=draft.name,
            reason=draft.reason,
            coverage=draft.coverage,
            schedule=draft.schedule,
            time_zone=zone,
            ended_at=None if moved else before.ended_at,
        )
        return before if wanted == before else await _write(connection, "update", before, wanted, context)


async def end(connection: Connection[Any], tenant_id: str, window_id: UUID, context: ChangeContext) -> Window:
    """End a window that is active now; a weekly one starts again at its next time. Raises NotFound; Conflict."""
    async with connection.transaction():
        before = await _locked(connection, tenant_id, window_id, None)
        now = context.settled.timestamp()
        if active_at(before, now) is None:
            raise Conflict(f"{before.name} is not active now, so there is nothing to end.")
        return await _write(connection, "end", before, replace(before, ended_at=now), context)


async def delete(connection: Connection[Any], tenant_id: str, window_id: UUID, context: ChangeContext) -> None:
    """Delete a window; one that is active ends. Raises NotFound."""
    async with connection.transaction():
        before = await _locked(connection, tenant_id, window_id, None)
        parameters = {"tenant": tenant_id, "window": window_id}
        cursor = await connection.execute(STATEMENTS["delete_window"], parameters)
        require_rows(cursor.rowcount, "such maintenance window")
        await record(connection, _entry(context, "delete", before, None), now=context.now)


async def delete_over(connection: Connection[Any], before: datetime) -> int:
    """Delete the windows whose last occurrence ended earlier than ``before``; return their number."""
    return (await connection.execute(STATEMENTS["delete_windows_over"], {"before": before})).rowcount


async def checked(
    connection: Connection[Any], tenant_id: str, draft: WindowDraft, now: float, before: Window | None = None
) -> str:
    """Return the zone of a draft that may be saved, over ``before``. Raises Invalid with the field; NotFound."""
    check_texts(draft, None if before is None else before.time_zone)
    kept = Coverage() if before is None else before.coverage
    await _check_known(connection, tenant_id, draft.coverage, kept)
    zone = zones.stored(draft.time_zone or await zone_for(connection, tenant_id, draft.coverage))
    if before is None or (draft.schedule, zone) != (before.schedule, before.time_zone):
        check_times(draft.schedule, zone, now)
    return zone


async def _check_known(connection: Connection[Any], tenant_id: str, coverage: Coverage, kept: Coverage) -> None:
    """Raise Invalid for a site or a device that is not there; those that were named before may be gone since."""
    for what, named, known in (
        ("site", coverage.site_ids, kept.site_ids),
        ("device", coverage.device_ids, kept.device_ids),
    ):
        added = sorted(set(named).difference(known))
        if added:
            parameters = {"tenant": tenant_id, f"{what}s": added}
            missing = await (await connection.execute(STATEMENTS[UNKNOWN[what]], parameters)).fetchone()
            if missing is not None:
                raise Invalid(unknown(what, missing[0]), f"{what}_ids")


UNKNOWN = {"site": "select_unknown_sites", "device": "select_unknown_devices"}


async def _locked(connection: Connection[Any], tenant_id: str, window_id: UUID, version: datetime | None) -> Window:
    parameters = {"tenant": tenant_id, "window": window_id}
    require(
        await (await connection.execute(STATEMENTS["lock_window"], parameters)).fetchone(), "such maintenance window"
    )
    kept = await get(connection, tenant_id, window_id)
    if version not in (None, kept.version):
        raise Outdated(f"{kept.name} was changed by someone else; reload the page.")
    return kept


async def _write(
    connection: Connection[Any], verb: str, before: Window, wanted: Window, context: ChangeContext
) -> Window:
    draft = WindowDraft(wanted.name, wanted.reason, wanted.coverage, wanted.schedule)
    parameters = _parameters(wanted.tenant_id, draft, wanted.time_zone, wanted.ended_at)
    await connection.execute(STATEMENTS["update_window"], parameters | {"window": wanted.window_id, "now": context.now})
    await record(connection, _entry(context, verb, before, wanted), now=context.now)
    return await get(connection, wanted.tenant_id, wanted.window_id)


def window_of(row: tuple[Any, ...]) -> Window:
    """Return a row of the table as a window."""
    tenant_id, window_id, name, reason, sites, tags, devices, *times, zone, ended, created_at, created_by, version = row
    return Window(
        tenant_id,
        window_id,
        name,
        reason,
        Coverage(tuple(sites), tuple(tags), tuple(devices)),
        _schedule_of(*times),
        zone,
        None if ended is None else ended.timestamp(),
        created_at,
        created_by,
        version,
    )


def _schedule_of(
    kind: str, starts: Any, ends: Any, weekdays: Any, start_time: Any, length: Any, until: Any
) -> Schedule:
    if kind == "once":
        return Once(starts, ends)
    return Weekly(frozenset(map(Weekday, weekdays)), start_time, length, until)


def _columns(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as it is written."""
    if isinstance(schedule, Once):
        none = dict.fromkeys(("weekdays", "start_time", "length_minutes", "until"))
        return {"kind": "once", "starts": schedule.starts, "ends": schedule.ends, **none}
    return {
        "kind": "weekly",
        "starts": None,
        "ends": None,
        "weekdays": [day.value for day in WEEKDAYS if day in schedule.weekdays],
        "start_time": schedule.start_time,
        "length_minutes": schedule.length,
        "until": schedule.until,
    }


def _lists(coverage: Coverage) -> dict[str, list[str]]:
    return {
        "site_ids": list(coverage.site_ids),
        "tags": list(coverage.tags),
        "device_ids": list(coverage.device_ids),
    }


def _parameters(tenant_id: str, draft: WindowDraft, zone: str, ended_at: float | None) -> dict[str, Any]:
    over = over_at(draft.schedule, zone, ended_at)
    return {
        "tenant": tenant_id,
        "name": draft.name,
        "reason": draft.reason,
        **_lists(draft.coverage),
        **_columns(draft.schedule),
        "time_zone": zone,
        "ended_at": _moment(ended_at),
        "over_at": _moment(over),
    }


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _entry(context: ChangeContext, verb: str, before: Window | None, after: Window | None) -> Entry:
    """Return the audit row: the fields that differ, before and after; all that are set of a new or deleted window."""
    named = after or before
    assert named is not None, "a change has a side"  # noqa: S101 - narrows the type
    old, new = (None if side is None else _state(side) for side in (before, after))
    if old is not None and new is not None:
        differing = [name for name in old if old[name] != new[name]]
        old, new = ({name: side[name] for name in ("name", *differing)} for side in (old, new))
    return Entry(
        context.actor, f"maintenance.{verb}", "maintenance", str(named.window_id), named.tenant_id, _set(old), _set(new)
    )


def _set(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if state is None else {name: value for name, value in state.items() if value not in (None, "", [])}


def _state(window: Window) -> dict[str, Any]:
    times = {
        name: getattr(value, "isoformat", lambda value=value: value)()
        for name, value in _columns(window.schedule).items()
    }
    ended = _moment(window.ended_at)
    return {
        "name": window.name,
        "reason": window.reason,
        **_lists(window.coverage),
        **times,
        "time_zone": window.time_zone,
        "ended_at": None if ended is None else ended.isoformat(),
    }
