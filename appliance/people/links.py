"""One-time links: the set-up page, a new password, the second step of a sign-in. The secret is the only permission."""

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
"""How long a set-up link is valid."""


class Purpose(StrEnum):
    """What a link opens."""

    SET_UP = "set-up"
    PASSWORD = "password"  # noqa: S105 - a purpose, not a secret
    SECOND_FACTOR = "second-factor"


@dataclass(frozen=True, slots=True)
class Link:
    """What a secret gives access to."""

    user_id: UUID | None
    """None: the set-up page, whose link is shown on the console."""
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
    """Create a link and return its secret, which is known only now."""
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
    """Create a set-up link and return its secret; earlier ones stop working."""
    async with connection.transaction():
        await connection.execute(STATEMENTS["drop_set_up_links"])
        return await make(connection, Purpose.SET_UP, now + SET_UP)


async def peek(connection: Connection[Any], secret: str, purpose: Purpose, settled: datetime) -> Link | None:
    """Return the link of a secret without using it up; None for a wrong or used one, or one over at ``settled``."""
    return await _read(connection, "peek_link", secret, purpose, settled)


async def take(connection: Connection[Any], secret: str, purpose: Purpose, settled: datetime) -> Link | None:
    """Use the link up and return it. Of two concurrent calls, one gets None."""
    return await _read(connection, "take_link", secret, purpose, settled)


async def _read(
    connection: Connection[Any], statement: str, secret: str, purpose: Purpose, settled: datetime
) -> Link | None:
    parameters = {"hash": secret_token.digest(secret), "purpose": purpose.value, "now": settled}
    cursor = await connection.execute(STATEMENTS[statement], parameters)
    row = await cursor.fetchone()
    return None if row is None else Link(*row)
