"""Since when nothing came that could end an open alert: silence closes none that a reading opened."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alert_silence")


async def no_reading_since(connection: Connection[Any], alerts: Sequence[int]) -> dict[int, datetime]:
    """Return, for those of ``alerts`` whose device is silent, when it was last heard; for "no reading since 13:41"."""
    if not alerts:
        return {}
    cursor = await connection.execute(STATEMENTS["list_unread"], {"alerts": list(alerts)})
    return dict(await cursor.fetchall())
