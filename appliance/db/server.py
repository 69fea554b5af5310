"""Facts of the database server: version, connections, and the size of its tables."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from appliance.db import statements
from appliance.db.collations import changed
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("db")


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table with its indexes, partitions included."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and our database on it."""

    version: str
    """For example ``15.14``, without the suffix of the packager."""
    bytes: int
    """Size of the database on disk."""
    connections: int
    max_connections: int
    tables: tuple[TableSize, ...]
    """The largest first."""
    telemetry_days: int
    """Days with readings."""
    telemetry_since: date | None
    """The first of them."""
    collations: tuple[str, ...]
    """What has changed in the order of text since the indexes were built, in words; nothing as a rule."""


async def read_facts(connection: Connection[Any]) -> ServerFacts:
    """Read the facts from the server: some tens of file system calls on its side, no scan."""
    cursor = await connection.execute(STATEMENTS["server_facts"])
    version, size, connections, most = require(await cursor.fetchone(), "server")
    cursor = await connection.execute(STATEMENTS["table_sizes"])
    tables = tuple(TableSize(*row) for row in await cursor.fetchall())
    cursor = await connection.execute(STATEMENTS["telemetry_days"])
    days, since = require(await cursor.fetchone(), "telemetry")
    sorted_otherwise = tuple(each.text for each in await changed(connection))
    return ServerFacts(version.partition(" ")[0], size, connections, most, tables, days, since, sorted_otherwise)
