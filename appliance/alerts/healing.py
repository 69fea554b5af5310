"""Times of alerts that a wrong clock wrote: set right, or notices would be due, and silences last, for years."""

from typing import Any

from appliance.alerts.actions import MAX_SILENCE
from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alerts")


async def heal(connection: Connection[Any], correction: Correction) -> int:
    """Heal alerts and their silences; return the number of alerts healed. Timelines keep what was written."""
    longest = {"longest": correction.latest + MAX_SILENCE}
    await connection.execute(STATEMENTS["heal_silences"], correction.parameters() | longest)
    return (await connection.execute(STATEMENTS["heal_alerts"], correction.parameters())).rowcount
