"""Times of alerts that a wrong clock wrote: set right, or notices would be due, and silences last, for years."""

from typing import Any

from appliance.alerts.actions import MAX_SILENCE
from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alerts")
CONDITIONS = statements.load("alert_conditions")


async def heal(connection: Connection[Any], correction: Correction) -> int:
    """Heal alerts, their silences and conditions. Timelines keep what was written.

    Returns the number of alerts healed.
    """
    for statement in ("heal_losses", "heal_conditions"):
        await connection.execute(CONDITIONS[statement], correction.parameters())
    longest = {"longest": correction.latest + MAX_SILENCE}
    await connection.execute(STATEMENTS["heal_silences"], correction.parameters() | longest)
    return (await connection.execute(STATEMENTS["heal_alerts"], correction.parameters())).rowcount
