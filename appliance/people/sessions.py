"""Sessions: who is signed in, from where, and until when. The secret of the cookie is stored as a hash."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require_rows
from appliance.db.trio_psycopg import Connection
from appliance.people import secret_token
from appliance.people.users import User, user_of

STATEMENTS = statements.load("people")

IDLE = timedelta(minutes=30)
"""Time without a request after which a session ends."""
LIFETIME = timedelta(hours=8)
"""Longest life of a session: one working shift."""
KEPT_LIFETIME = timedelta(days=30)
"""Longest life, and idle time too, of a session whose owner asked to stay signed in."""
TOUCH_EVERY = timedelta(minutes=1)
"""Resolution of "last seen": more frequent requests write no row."""
MAX_A_USER = 50
"""Most sessions of one user; those idle for longest end first."""
MAX_AGENT = 256
BROWSER_KNOWN = timedelta(days=180)
"""Time without a sign-in after which a known browser is forgotten."""


@dataclass(frozen=True, slots=True)
class Visit:
    """The network address and the browser of a request."""

    address: str | None = None
    agent: str | None = None
    """The browser's User-Agent, to tell sessions apart."""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A valid session with its user."""

    user: User
    session_id: UUID
    kept: bool
    tenant_zone: str | None
    """Time zone of the user's tenant."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its owner sees it."""

    session_id: UUID
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    kept: bool
    address: str | None
    agent: str | None


async def begin(
    connection: Connection[Any], user: User, now: datetime, settled: datetime, visit: Visit, *, keep: bool
) -> str:
    """Begin a session and return the secret of its cookie.

    Deletes the sessions, links and browsers that have expired at ``settled``.
    """
    secret = secret_token.new()
    lifetime = KEPT_LIFETIME if keep else LIFETIME
    parameters = {
        "hash": secret_token.digest(secret),
        "user": user.user_id,
        "tenant": user.tenant_id,
        "now": now,
        "idle_until": now + (lifetime if keep else IDLE),
        "expires_at": now + lifetime,
        "kept": keep,
        "address": visit.address,
        "agent": _agent(visit),
    }
    async with connection.transaction():
        for statement in ("sweep_sessions", "sweep_links"):
            await connection.execute(STATEMENTS[statement], {"now": settled})
        await connection.execute(STATEMENTS["sweep_browsers"], {"since": settled - BROWSER_KNOWN})
        await connection.execute(STATEMENTS["insert_session"], parameters)
        await connection.execute(STATEMENTS["end_oldest_sessions"], {"user": user.user_id, "keep": MAX_A_USER})
        await connection.execute(STATEMENTS["note_sign_in"], {"user": user.user_id, "now": now})
    return secret


async def find(
    connection: Connection[Any], secret: str, settled: datetime, visit: Visit, *, touch_at: datetime | None
) -> ActiveSession | None:
    """Return the session of this secret if it is valid at ``settled``, or None.

    ``touch_at``: the present, when the request counts as activity of the user.
    """
    parameters: dict[str, Any] = {"hash": secret_token.digest(secret), "now": settled}
    cursor = await connection.execute(STATEMENTS["find_session"], parameters)
    row = await cursor.fetchone()
    if row is None:
        return None
    session_id, seen_at, kept, tenant_zone = row[13:]
    if touch_at is not None and touch_at - seen_at >= TOUCH_EVERY:
        idle_until = touch_at + (KEPT_LIFETIME if kept else IDLE)
        parameters |= {"now": touch_at, "idle_until": idle_until, "address": visit.address}
        await connection.execute(STATEMENTS["touch_session"], parameters)
    return ActiveSession(user_of(row), session_id, kept, tenant_zone)


async def list_of(connection: Connection[Any], user_id: UUID, settled: datetime) -> list[Session]:
    """Return the sessions of a user that are valid at ``settled``, most recently used first."""
    cursor = await connection.execute(STATEMENTS["list_sessions"], {"user": user_id, "now": settled})
    return [Session(*row) for row in await cursor.fetchall()]


async def end(connection: Connection[Any], user: User, session_id: UUID, context: ChangeContext) -> None:
    """End one session of a user. Raises NotFound, also for another user's session."""
    async with connection.transaction():
        parameters = {"user": user.user_id, "session": session_id}
        cursor = await connection.execute(STATEMENTS["end_session"], parameters)
        require_rows(cursor.rowcount, "such session")
        await record(connection, _entry(context, user, "end", str(session_id)), now=context.now)


async def end_others(connection: Connection[Any], user: User, but: UUID | None, context: ChangeContext) -> int:
    """End all sessions of a user except ``but``, and return their number."""
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["end_sessions"], {"user": user.user_id, "but": but})
        if cursor.rowcount:
            entry = _entry(context, user, "end_others", str(user.user_id), {"sessions": cursor.rowcount})
            await record(connection, entry, now=context.now)
    return cursor.rowcount


def _agent(visit: Visit) -> str | None:
    if visit.agent is None:
        return None
    return "".join(character for character in visit.agent[:MAX_AGENT] if character.isprintable())


def _entry(context: ChangeContext, user: User, verb: str, object_id: str, after: dict[str, Any] | None = None) -> Entry:
    return Entry(context.actor, f"session.{verb}", "session", object_id, user.tenant_id, None, after)
