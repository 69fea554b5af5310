"""Times of deliveries that a wrong clock wrote: set right, or notices would be due in years."""

from typing import Any

from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("outbox")


async def heal(connection: Connection[Any], correction: Correction) -> int:
    """Heal jobs, and what is known of integrations. Attempts keep what was written. Returns the number of jobs."""
    await connection.execute(STATEMENTS["heal_health"], correction.parameters())
    return (await connection.execute(STATEMENTS["heal_jobs"], correction.parameters())).rowcount
