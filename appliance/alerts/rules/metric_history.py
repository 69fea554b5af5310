"""What metrics are made of, and how one that is no number went: beside the series of numbers that charts have."""

from datetime import datetime
from typing import Any, NamedTuple

from appliance.alerts.rules.findings import MAX_READINGS, STATEMENTS
from appliance.db.trio_psycopg import Connection

MAX_CHANGES = 400
"""Changes that a picture shows; a value that changes more often is cut off after these."""


class ValueChange(NamedTuple):
    """A value that a metric has from a time on, in seconds since 1970 UTC."""

    at: float
    value: Any


async def types(connection: Connection[Any], tenant_id: str) -> dict[str, list[str]]:
    """Return what the devices of a tenant send of each metric: ``number``, ``boolean`` or ``string``."""
    cursor = await connection.execute(STATEMENTS["select_metric_types"], {"tenant": tenant_id})
    return dict(await cursor.fetchall())


async def changes(
    connection: Connection[Any], tenant_id: str, device_id: str, metric: str, first: datetime, last: datetime
) -> list[ValueChange]:
    """Return the values of a metric in order of time, each with the time since when it is that."""
    parameters = {"tenant": tenant_id, "device": device_id, "metric": metric, "first": first, "last": last}
    parameters |= {"limit": MAX_CHANGES, "readings": MAX_READINGS}
    cursor = await connection.execute(STATEMENTS["read_changes"], parameters, prepare=False)
    return [ValueChange(*row) for row in await cursor.fetchall()]
