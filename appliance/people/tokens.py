"""API tokens: keys of a user for programs, limited by scopes and by an expiry date."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid
from appliance.people import secret_token
from appliance.people.role import Scope
from appliance.people.users import MAX_NAME, User, user_of
from appliance.plain_text import is_plain

STATEMENTS = statements.load("people")

MAX_DAYS = 3650
MAX_A_USER = 100
"""Most tokens of one user."""
TOUCH_EVERY = timedelta(minutes=1)
"""Resolution of "last used": more frequent requests write no row."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its secret."""

    token_id: UUID
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A valid token of a request, with its user."""

    user: User
    token: Token
    tenant_zone: str | None


async def add(
    connection: Connection[Any], user: User, name: str, scopes: Collection[Scope], days: int, context: ChangeContext
) -> str:
    """Create a token and return its secret. Raises Invalid; Conflict for a disabled user or too many tokens."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not is_plain(name):
        raise Invalid(f"Give the token a name of at most {MAX_NAME} characters, all of which can be seen.", "name")
    if not scopes:
        raise Invalid("Choose at least one scope.", "scopes")
    if not 1 <= days <= MAX_DAYS:
        raise Invalid(f"A token is valid for 1 to {MAX_DAYS} days.", "days")
    if user.disabled_at is not None:
        raise Conflict(f"{user.email} is disabled; enable them first.")
    secret = secret_token.new()
    parameters = {
        "hash": secret_token.digest(secret),
        "user": user.user_id,
        "tenant": user.tenant_id,
        "name": name,
        "scopes": sorted(scope.value for scope in scopes),
        "now": context.now,
        "expires_at": context.now + timedelta(days=days),
    }
    async with connection.transaction():
        if len(await list_of(connection, user.user_id)) >= MAX_A_USER:
            raise Conflict(f"{user.email} has {MAX_A_USER} tokens; revoke one first.")
        cursor = await connection.execute(STATEMENTS["insert_token"], parameters)
        token_id = require(await cursor.fetchone(), "token just made")[0]
        after = {"name": name, "scopes": parameters["scopes"], "days": days, "user": user.email}
        await record(connection, _entry(context, "add", token_id, user.tenant_id, None, after), now=context.now)
    return secret


async def list_of(connection: Connection[Any], user_id: UUID) -> list[Token]:
    """Return the tokens of a user, expired ones included, oldest first."""
    cursor = await connection.execute(STATEMENTS["list_tokens"], {"user": user_id})
    return [_token(row) for row in await cursor.fetchall()]


async def revoke(connection: Connection[Any], user_id: UUID, token_id: UUID, context: ChangeContext) -> None:
    """Revoke a token at once. Raises NotFound, also for another user's token."""
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["revoke_token"], {"user": user_id, "token": token_id})
        name, tenant_id = require(await cursor.fetchone(), "such token")
        await record(connection, _entry(context, "revoke", token_id, tenant_id, {"name": name}, None), now=context.now)


async def revoke_all(connection: Connection[Any], user_id: UUID, context: ChangeContext) -> int:
    """Revoke all tokens of a user at once and return their number; each has its row in the audit."""
    async with connection.transaction():
        rows = await (await connection.execute(STATEMENTS["revoke_tokens"], {"user": user_id})).fetchall()
        entries = [_entry(context, "revoke", token, tenant, {"name": name}, None) for token, name, tenant in rows]
        if entries:
            await record(connection, *entries, now=context.now)
    return len(rows)


async def find(connection: Connection[Any], secret: str, now: datetime, settled: datetime) -> PresentedToken | None:
    """Return the token of this secret if it is valid at ``settled`` and its user not disabled, else None."""
    cursor = await connection.execute(STATEMENTS["find_token"], {"hash": secret_token.digest(secret), "now": settled})
    row = await cursor.fetchone()
    if row is None:
        return None
    token = _token(row[13:19])
    if token.last_used_at is None or now - token.last_used_at >= TOUCH_EVERY:
        await connection.execute(STATEMENTS["touch_token"], {"token": token.token_id, "now": now})
    return PresentedToken(user_of(row), token, row[19])


def scopes_of(names: Collection[str]) -> frozenset[Scope]:
    """Return scopes by their names. Raises Invalid for an unknown one."""
    try:
        return frozenset(Scope(name.strip()) for name in names)
    except ValueError:
        raise Invalid(f"The scopes are {', '.join(scope.value for scope in Scope)}.", "scopes") from None


def _token(row: tuple[Any, ...]) -> Token:
    token_id, name, scopes, created_at, expires_at, last_used_at = row
    return Token(token_id, name, frozenset(map(Scope, scopes)), created_at, expires_at, last_used_at)


def _entry(
    context: ChangeContext,
    verb: str,
    token_id: UUID,
    tenant_id: str | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> Entry:
    return Entry(context.actor, f"token.{verb}", "token", str(token_id), tenant_id, before, after)
