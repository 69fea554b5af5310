"""Times of quarantine that a wrong clock wrote: set right, or held messages would be kept for years."""

from typing import Any

from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("quarantine")


async def heal(connection: Connection[Any], correction: Correction) -> int:
    """Heal messages, evictions and replays; return the number of messages healed."""
    for name in ("heal_totals", "heal_replays"):
        await connection.execute(STATEMENTS[name], correction.parameters())
    return (await connection.execute(STATEMENTS["heal_events"], correction.parameters())).rowcount
