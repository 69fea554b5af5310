"""The devices that could lose their seats in a renewal with fewer of them: longest silent first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.presence import Presence

STATEMENTS = statements.load("renewals")

MOST_CANDIDATES = 1000
"""Devices that one list shows at most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ACTIVE device of a subscription."""

    device_id: str
    name: str | None
    last_seen_at: datetime | None
    """None: nothing of it was ever accepted."""
    silent_since: datetime
    """When it was last seen, or else when it was registered."""
    place: str | None
    presence: Presence


async def candidates(
    connection: Connection[Any], tenant_id: str, subscription_id: str, *, search: str = "", limit: int
) -> list[Candidate]:
    """Return at most ``limit`` ACTIVE devices of a subscription whose id, name or place holds ``search``."""
    escaped = search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    parameters = {
        "tenant": tenant_id,
        "subscription": subscription_id,
        "search": f"%{escaped}%" if search else None,
        "limit": limit,
    }
    cursor = await connection.execute(STATEMENTS["select_candidates"], parameters)
    return [_candidate(*row) for row in await cursor.fetchall()]


def _candidate(
    device_id: str,
    name: str | None,
    last_seen_at: datetime | None,
    silent_since: datetime,
    place: str | None,
    presence: str,
) -> Candidate:
    return Candidate(device_id, name, last_seen_at, silent_since, place, Presence(presence))
