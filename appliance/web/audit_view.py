"""The audit as it is asked for in an address: the same filter for the page, the API and the CSV file of both."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from quart import Response

from appliance.errors import Invalid
from appliance.people import trail
from appliance.people.trail import Row, Wanted
from appliance.web import csv_export, cursor
from appliance.web.access import tenants_shown
from appliance.web.auth import Viewer, viewer
from appliance.web.services import Services
from appliance.web.spans import moment_of

SLICE = 1000
"""Rows read at once for a file, each in a transaction of its own: whoever loads slowly holds nothing open."""
HEADS = (
    "time", "tenant_id", "actor", "actor_kind", "action", "object_type", "object_id", "before", "after", "address",
)  # fmt: skip
MAX_TEXT = 254


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, newest first; ``next`` is the cursor of the next page."""

    rows: list[Row]
    next: str | None


class AuditReader:
    """Reads what the current viewer may see."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def page(self, wanted: Wanted, limit: int) -> Page:
        """One page."""
        async with self._services.access.reading() as connection:
            rows = await trail.read(connection, wanted, limit + 1)
        return Page(rows[:limit], cursor.write(rows[limit - 1].id if len(rows) > limit else None))

    def file(self, wanted: Wanted) -> Response:
        """All of it as CSV, read as it is sent."""
        return csv_export.answer("audit", HEADS, self._slices(wanted, viewer()), self._services.clock.wall())

    async def _slices(self, wanted: Wanted, who: Viewer) -> AsyncIterator[list[Sequence[Any]]]:
        while True:
            async with self._services.access.reading(who) as connection:
                rows = await trail.read(connection, wanted, SLICE)
            if not rows:
                return
            yield [_cells(row) for row in rows]
            wanted = replace(wanted, before_id=rows[-1].id)


def wanted_of(arguments: Mapping[str, str]) -> Wanted:
    """What an address asks for. Raises Invalid, which names the parameter."""
    zone = viewer().zone
    since, until = arguments.get("from", ""), arguments.get("to", "")
    before_id = cursor.read(arguments.get("cursor"), int)
    if before_id is not None and not 0 < before_id < 2**63:
        raise Invalid(cursor.STALE, "cursor")
    return Wanted(
        tenant_id=tenants_shown(),
        actor=_text(arguments, "actor"),
        object=_text(arguments, "object"),
        action=_text(arguments, "action"),
        since=moment_of(since, zone, "from") if since else None,
        until=moment_of(until, zone, "to", ends=True) if until else None,
        before_id=before_id,
    )


def changes(row: Row) -> list[tuple[str, str, str]]:
    """What changed: name, before and after, in words; empty where there was or is nothing, but not on both sides."""
    before, after = row.before or {}, row.after or {}
    names = [*before, *(name for name in after if name not in before)]
    words = ((name, _word(before.get(name)), _word(after.get(name))) for name in names)
    return [(name, old, new) for name, old, new in words if old or new]


def _text(arguments: Mapping[str, str], name: str) -> str | None:
    text = arguments.get(name, "").strip()
    if len(text) > MAX_TEXT or "\0" in text:
        raise Invalid(f"`{name}` has at most {MAX_TEXT} characters, all of which can be shown.", name)
    return text or None


def _word(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return msgspec.json.encode(value).decode()
    return str(value)


def _cells(row: Row) -> list[Any]:
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
