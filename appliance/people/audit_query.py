"""The audit as people read it: newest first, filtered, a page at a time. Rows are written by ``appliance.db.audit``."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.audit import ActorKind
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("people")

PAGE = 100
"""Rows on one page."""


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
    """Which rows; None is any."""

    tenant_id: str | None = None
    actor: str | None = None
    """Exactly: an e-mail address, a service, a command's user. A person's tokens go with the person."""
    object: str | None = None
    """An object's id, or ``type/id``."""
    action: str | None = None
    """How the action begins, for example ``device.``."""
    since: datetime | None = None
    until: datetime | None = None
    before_id: int | None = None
    """The last row of the page before."""


async def read(connection: Connection[Any], wanted: AuditFilter, limit: int = PAGE) -> list[AuditRow]:
    """At most ``limit`` rows, newest first."""
    before, slash, behind = (wanted.object or "").partition("/")
    kind, identity = (before, behind) if slash else ("", before)
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


async def names(connection: Connection[Any], rows: Iterable[AuditRow]) -> dict[str, str]:
    """What people call the objects whose ids say nothing: the e-mail addresses of users, by id."""
    users = {row.object_id for row in rows if row.object_type == "user" and _is_uuid(row.object_id)}
    if not users:
        return {}
    cursor = await connection.execute(STATEMENTS["select_emails"], {"users": sorted(users)})
    return {str(user_id): email for user_id, email in await cursor.fetchall()}


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _row(row: tuple[Any, ...]) -> AuditRow:
    identity, at, tenant, actor, kind, *rest = row
    return AuditRow(identity, at, tenant, actor, ActorKind(kind), *rest)
