"""The daily partitions of ``telemetry``, which must exist before a reading of that day can be stored."""

from datetime import date
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("db")


async def ensure_partitions(connection: Connection[Any], first: date, last: date) -> int:
    """Create the partitions of the UTC days ``first`` to ``last``, both included; return how many were missing.

    Safe to call at any time, from several processes; waits for no reader or writer of other days.
    """
    cursor = await connection.execute(STATEMENTS["ensure_telemetry_partitions"], {"first": first, "last": last})
    row = await cursor.fetchone()
    assert row is not None, "a function call returns one row"  # noqa: S101 - narrows the type
    made: int = row[0]
    return made
