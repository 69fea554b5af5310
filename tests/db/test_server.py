"""What the database server says of itself."""

import re
from typing import Any

from appliance.db.roles import INGEST
from appliance.db.server import read_facts
from appliance.db.trio_psycopg import connect
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database


async def _facts(database: Database) -> Any:
    async with await connect(database.conninfo(INGEST)) as connection:
        return await read_facts(connection)


async def test_version_and_connections_are_the_servers(database: Database) -> None:
    facts = await _facts(database)
    assert re.fullmatch(r"\d+\.\d+\S*", facts.version)
    assert 1 <= facts.connections <= facts.max_connections


async def test_telemetry_is_counted_with_its_partitions_and_dated_by_what_is_in_them(database: Database) -> None:
    facts = await _facts(database)
    assert (facts.telemetry_days, facts.telemetry_since) == (0, None)
    before = sum(table.bytes for table in facts.tables if table.name == "telemetry")
    arrange(
        database,
        "SELECT telemetry_ensure_partitions('2026-01-01', '2026-01-05')",
        "INSERT INTO telemetry SELECT 'acme', 'd' || n, 'telemetry', '2026-01-03T00:00Z'::timestamptz, n,"
        " now(), false, false, n, NULL, NULL, NULL, '{\"a\": 1}' FROM generate_series(1, 5000) AS n",
    )
    facts = await _facts(database)
    assert (facts.telemetry_days, str(facts.telemetry_since)) == (1, "2026-01-03")
    (telemetry,) = [table.bytes for table in facts.tables if table.name == "telemetry"]
    assert telemetry > before + 500_000
    assert facts.bytes > telemetry
    assert not [table.name for table in facts.tables if re.search(r"_\d{8}$", table.name)]
