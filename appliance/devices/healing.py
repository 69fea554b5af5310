"""Times of devices that a wrong clock wrote: set right in the database (``StateBook.heal`` does it in memory)."""

from typing import Any

from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials.credential import PREVIOUS_TOKEN

STATES = statements.load("devices")
PRESENCE = statements.load("presence")
CREDENTIALS = statements.load("credentials")


async def heal(connection: Connection[Any], instance: str, correction: Correction) -> int:
    """Heal states and credentials of devices, listening periods, and waiting roll-ups; return the number of states.

    Readings keep the time that they were stored under; they are what was sent.
    """
    parameters = {**correction.parameters(), "instance": instance}
    await connection.execute(PRESENCE["cut_future"], {"instance": instance, "now": correction.latest})
    await connection.execute(STATES["heal_marks"], parameters)
    await connection.execute(CREDENTIALS["heal_overlaps"], {"longest": correction.now + PREVIOUS_TOKEN})
    states = (await connection.execute(STATES["heal_states"], parameters)).rowcount
    # Last: every batch of this instance waits for its row, and what comes before may take seconds.
    await connection.execute(STATES["heal_instance"], parameters)
    return states
