"""Queries of the audit: newest first, filtered, page by page. ``appliance.db.audit`` writes the rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.audit import ActorKind
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("people")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change."""

    id: int
    at: datetime
    tenant_id: str | None
    actor: str
    actor_kind: ActorKind
    action: str
    object_type: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows; None matches any."""

    tenant_id: str | None = None
    actor: str | None = None
    """The exact actor: an e-mail address, a service or a command's user. A user's tokens are included."""
    object: str | None = None
    """An object's id, or ``type/id``."""
    action: str | None = None
    """A prefix of the action, for example ``device.``."""
    since: datetime | None = None
    until: datetime | None = None
    before_id: int | None = None
    """The id of the last row on the previous page."""


async def read(connection: Connection[Any], wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """Return at most ``limit`` rows, newest first."""
    first, slash, second = (wanted.object or "").partition("/")
    kind, identity = (first, second) if slash else ("", first)
    parameters = {
        "tenant": wanted.tenant_id,
        "actor": wanted.actor or None,
        "type": kind or None,
        "object": identity or None,
        "action": wanted.action or None,
        "since": wanted.since,
        "until": wanted.until,
        "before_id": wanted.before_id,
        "limit": limit,
    }
    cursor = await connection.execute(STATEMENTS["list_audit"], parameters)
    return [_row(row) for row in await cursor.fetchall()]


NAMED = (
    ("user", "select_emails"),
    ("rule", "select_rule_names"),
    ("maintenance", "select_window_names"),
)
"""Types of objects whose ids are UUIDs, and the statements that read their names."""


async def names(connection: Connection[Any], rows: Iterable[AuditRow]) -> dict[str, str]:
    """Return names of the objects of ``rows`` by id: of those whose ids are UUIDs, e-mail addresses or names."""
    rows = list(rows)
    found: dict[str, str] = {}
    for object_type, statement in NAMED:
        ids = {row.object_id for row in rows if row.object_type == object_type and _is_uuid(row.object_id)}
        if ids:
            cursor = await connection.execute(STATEMENTS[statement], {"ids": sorted(ids)})
            found |= {str(identity): name for identity, name in await cursor.fetchall()}
    return found


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _row(row: tuple[Any, ...]) -> AuditRow:
    identity, at, tenant, actor, kind, *rest = row
    return AuditRow(identity, at, tenant, actor, ActorKind(kind), *rest)
