"""One-time links: the set-up page, a new password, the second step of a sign-in. Whoever holds the secret may, once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.people import secret_token

STATEMENTS = statements.load("people")

SET_UP = timedelta(hours=1)
"""How long a set-up link is good."""


class Purpose(StrEnum):
    """What a link opens."""

    SET_UP = "set-up"
    PASSWORD = "password"  # noqa: S105 - a purpose, not a secret
    SECOND_FACTOR = "second-factor"


@dataclass(frozen=True, slots=True)
class Link:
    """What stands behind a secret."""

    user_id: UUID | None
    """None: the set-up page, which is for whoever sits at the console."""
    tenant_id: str | None
    keep_signed_in: bool


async def make(
    connection: Connection[Any],
    purpose: Purpose,
    expires_at: datetime,
    *,
    user_id: UUID | None = None,
    tenant_id: str | None = None,
    keep_signed_in: bool = False,
) -> str:
    """A new link; its secret, this one time."""
    secret = secret_token.new()
    parameters = {
        "hash": secret_token.digest(secret),
        "purpose": purpose.value,
        "user": user_id,
        "tenant": tenant_id,
        "expires_at": expires_at,
        "keep": keep_signed_in,
    }
    await connection.execute(STATEMENTS["insert_link"], parameters)
    return secret


async def make_set_up(connection: Connection[Any], now: datetime) -> str:
    """A new set-up link; earlier ones are dead."""
    async with connection.transaction():
        await connection.execute(STATEMENTS["drop_set_up_links"])
        return await make(connection, Purpose.SET_UP, now + SET_UP)


async def peek(connection: Connection[Any], secret: str, purpose: Purpose, now: datetime) -> Link | None:
    """What the secret would open now; None for a wrong, used or outdated one."""
    return await _read(connection, "peek_link", secret, purpose, now)


async def take(connection: Connection[Any], secret: str, purpose: Purpose, now: datetime) -> Link | None:
    """Use the link up. Of two who take it at once, one gets None."""
    return await _read(connection, "take_link", secret, purpose, now)


async def _read(
    connection: Connection[Any], statement: str, secret: str, purpose: Purpose, now: datetime
) -> Link | None:
    parameters = {"hash": secret_token.digest(secret), "purpose": purpose.value, "now": now}
    cursor = await connection.execute(STATEMENTS[statement], parameters)
    row = await cursor.fetchone()
    return None if row is None else Link(*row)
