"""The audit as it is asked for in an address: the same filter for the page, the API and the CSV file of both."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any

import msgspec
from quart import Response

from appliance.errors import Invalid
from appliance.people import audit_query
from appliance.people.audit_query import AuditFilter, AuditRow
from appliance.web.access.auth import Viewer, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.audit.labels import ACTIONS
from appliance.web.page import csv, cursor, formats
from appliance.web.page.time_range import moment_of
from appliance.web.platform import Platform

EXPORT_ROWS = 1000
"""Rows read at once for a file, each in a transaction of its own: whoever loads slowly holds nothing open."""
HEADS = (
    "time", "tenant_id", "actor", "actor_kind", "action", "object_type", "object_id", "before", "after", "address",
)  # fmt: skip
MAX_TEXT = 254
CODES = frozenset({"status", "subscription_type"})
"""Fields whose values are codes of the product."""
MOMENTS = ("_at", "_start", "_end")
"""How fields end whose values are times of the product."""


@dataclass(frozen=True, slots=True)
class AuditPageRead:
    """Some rows, newest first; ``next`` is the cursor of the next page."""

    rows: list[AuditRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change as people read it."""

    row: AuditRow
    what: str
    object: str
    changed: list[tuple[str, str, str]]
    """Field, before and after, in words; empty where there was or is nothing."""


class AuditReader:
    """Reads what the current viewer may see."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def page(self, wanted: AuditFilter, limit: int) -> AuditPageRead:
        """One page."""
        async with self._platform.access.reading() as connection:
            rows = await audit_query.read(connection, wanted, limit + 1)
        return AuditPageRead(rows[:limit], cursor.write(rows[limit - 1].id if len(rows) > limit else None))

    async def audit_entry_of(self, wanted: AuditFilter, limit: int) -> tuple[list[AuditEntry], str | None]:
        """One page in words, and the cursor of the next."""
        page = await self.page(wanted, limit)
        async with self._platform.access.reading() as connection:
            names = await audit_query.names(connection, page.rows)
        return [audit_entry_of(row, viewer().zone, names) for row in page.rows], page.next

    def file(self, wanted: AuditFilter) -> Response:
        """All of it as CSV, read as it is sent."""
        return csv.answer("audit", HEADS, self._slices(wanted, viewer()), self._platform.clock.wall())

    async def _slices(self, wanted: AuditFilter, who: Viewer) -> AsyncIterator[list[Sequence[Any]]]:
        while True:
            async with self._platform.access.reading(who) as connection:
                rows = await audit_query.read(connection, wanted, EXPORT_ROWS)
            if not rows:
                return
            yield [_cells(row) for row in rows]
            wanted = replace(wanted, before_id=rows[-1].id)


def wanted_of(arguments: Mapping[str, str]) -> AuditFilter:
    """What an address asks for. Raises Invalid, which names the parameter."""
    zone = viewer().zone
    first, last = arguments.get("from", ""), arguments.get("to", "")
    since = moment_of(first, zone, "from") if first else None
    until = moment_of(last, zone, "to", ends=True) if last else None
    if since is not None and until is not None and since >= until:
        raise Invalid("`from` must be before `to`.", "from")
    before_id = cursor.read(arguments.get("cursor"), int)
    if before_id is not None and not 0 < before_id < 2**63:
        raise Invalid(cursor.STALE, "cursor")
    return AuditFilter(
        tenant_id=tenants_shown(),
        actor=_text(arguments, "actor"),
        object=_text(arguments, "object"),
        action=_text(arguments, "action"),
        since=since,
        until=until,
        before_id=before_id,
    )


def audit_entry_of(row: AuditRow, zone: tzinfo | None, names: Mapping[str, str] = MappingProxyType({})) -> AuditEntry:
    """A change in words, its times in ``zone``; ``names`` of objects by their ids."""
    before, after = row.before or {}, row.after or {}
    known = {"tenant_id", f"{row.object_type}_id"}  # told beside it
    fields = dict.fromkeys(name for name in (*before, *after) if name not in known)
    changed = [
        (_field(name), _word(name, before.get(name), zone), _word(name, after.get(name), zone)) for name in fields
    ]
    return AuditEntry(
        row,
        ACTIONS.get(row.action, row.action),
        names.get(row.object_id, row.object_id),
        [change for change in changed if change[1] != change[2]],
    )


def _field(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _text(arguments: Mapping[str, str], name: str) -> str | None:
    text = arguments.get(name, "").strip()
    if len(text) > MAX_TEXT or "\0" in text:
        raise Invalid(f"`{name}` has at most {MAX_TEXT} characters, all of which can be shown.", name)
    return text or None


def _word(name: str, value: Any, zone: tzinfo | None) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return msgspec.json.encode(value).decode()
        case str() if name in CODES:
            return value.replace("_", " ").capitalize()
        case str() if name.endswith(MOMENTS):
            return formats.absolute(datetime.fromisoformat(value).timestamp(), zone)
    return str(value)


def _cells(row: AuditRow) -> list[Any]:
    return [
        row.at,
        row.tenant_id,
        row.actor,
        row.actor_kind.value,
        row.action,
        row.object_type,
        row.object_id,
        None if row.before is None else msgspec.json.encode(row.before).decode(),
        None if row.after is None else msgspec.json.encode(row.after).decode(),
        row.address,
    ]
