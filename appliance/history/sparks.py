"""Many series at once, one value an hour, for sparklines."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("history")

HOURS = 24
"""Values of a series, including the current hour."""
HOUR = 3600

MetricKey = tuple[str, str, str]
"""(tenant_id, device_id, metric)"""


async def read(connection: Connection[Any], keys: Sequence[MetricKey], now: datetime) -> list[list[float | None]]:
    """Return for each of ``keys`` the mean of each of the last hours, oldest first; None for an hour without readings.

    An hour that is not rolled up yet has its newest value.
    """
    begun = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = begun - timedelta(hours=HOURS - 1)
    parameters = {
        "tenants": [key[0] for key in keys],
        "devices": [key[1] for key in keys],
        "metrics": [key[2] for key in keys],
        "since": first,
        "until": begun + timedelta(hours=1),
    }
    found: list[list[float | None]] = [[None] * HOURS for _ in keys]
    if keys:
        cursor = await connection.execute(STATEMENTS["read_sparks"], parameters, prepare=False)
        for place, hour, mean, _ in await cursor.fetchall():
            found[place - 1][round((hour - first.timestamp()) / HOUR)] = mean
    return found
