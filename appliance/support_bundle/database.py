"""What a bundle tells of the database: sizes and estimates, sessions that wait, and no value of any row."""

from collections.abc import Mapping
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.support_bundle.scrub import Scrubber

STATEMENTS = statements.load("support_bundle")


async def facts(connection: Connection[Any]) -> Mapping[str, Any]:
    """Return the server, the tables and what waits."""
    [server] = await _rows(connection, "server")
    return {
        "server": server,
        "tables": await _rows(connection, "table_sizes"),
        "waiting": await _rows(connection, "waiting"),
        "settings": [row["name"] for row in await _rows(connection, "settings")],
    }


async def give_pseudonyms(connection: Connection[Any], scrubber: Scrubber) -> None:
    """Have the scrubber know the tenants, devices and sites that there are."""
    ids: dict[str, list[str]] = {}
    for row in await _rows(connection, "names"):
        ids.setdefault(row["kind"], []).append(row["id"])
    # Of a name for two things the more telling one stands: what is given first.
    for kind in ("tenant", "site", "device"):
        scrubber.name(kind, dict.fromkeys(ids.get(kind, ())))


async def _rows(connection: Connection[Any], name: str) -> list[dict[str, Any]]:
    cursor = await connection.execute(STATEMENTS[name])
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
