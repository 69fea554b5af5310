"""The order of text: what depends on it when the operating system of the server changes, and how that is mended."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from appliance.clock import SystemClock
from appliance.db import bootstrap, collations, migrations, roles
from appliance.db.trio_psycopg import connect
from appliance.errors import ApplianceError
from tests.support.doctor import Patient
from tests.support.postgres_server import Database, PostgresServer, drop_database

_numbers = itertools.count()
OUTDATED = "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()"
DEPENDING = {
    "alert_rules_name", "alert_rules_one_built_in", "audit_log_actor", "audit_log_object", "delivery_jobs_of_alert",
    "ingest_instances_pkey", "integration_routes_name", "integrations_name",
}  # fmt: skip


@pytest.fixture
def sorted_database(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """A database of ours that sorts by ICU, in whose releases the order of text changes."""
    assert database_template
    made = Database(postgres_server, f"sorted_{next(_numbers)}")
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {made.name} OWNER appliance_owner TEMPLATE template0 ENCODING 'UTF8'"
            " LOCALE_PROVIDER icu ICU_LOCALE 'de'"
        )
    trio.run(_migrate, made)
    yield made
    drop_database(made)


async def _migrate(database: Database) -> None:
    async with await connect(database.conninfo(roles.OWNER)) as connection:
        await migrations.migrate(connection, clock=SystemClock())


def run(database: Database, statement: bytes) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


def test_the_doctor_names_what_depends_on_another_order_of_text_and_mends_it(
    sorted_database: Database, tmp_path: Path
) -> None:
    patient = Patient(tmp_path / "data", sorted_database)
    assert patient.examine().status("collations") == "ok"
    patient.run(OUTDATED)
    found = patient.examine()
    assert found.status("collations") == "broken"
    said = found.text("collations")
    assert "the collation of the database was version 1.0, and is " in said
    assert set(said.partition("depend ")[2].partition(" |")[0].split(", ")) == DEPENDING
    assert "appliance doctor --mend" in said

    mended = patient.examine("--mend")
    assert set(mended.printed["mended"]["collations"]["rebuilt"]) == DEPENDING
    assert mended.status("collations") == "ok"


async def test_rows_that_a_wrong_order_let_in_twice_are_named(sorted_database: Database) -> None:
    insert = b"INSERT INTO ingest_instances (instance) VALUES ('twice')"
    for statement in (b"ALTER TABLE ingest_instances DROP CONSTRAINT ingest_instances_pkey CASCADE", insert, insert):
        run(sorted_database, statement)
    # as an index is that has lost sight of its row
    run(sorted_database, b"CREATE UNIQUE INDEX ingest_instances_pkey ON ingest_instances (instance) WHERE false")
    run(sorted_database, b"UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'ingest_instances_pkey'::regclass")
    run(sorted_database, OUTDATED.encode())
    async with await connect(sorted_database.conninfo(roles.OWNER)) as connection:
        with pytest.raises(ApplianceError, match=r"ingest_instances_pkey cannot.*Key \(instance\)=\(twice\)"):
            async with connection.transaction():
                await collations.rebuild(connection)
        assert [change.recorded for change in await collations.changed(connection)] == ["1.0"], "nothing is mended"


async def test_no_order_can_change_in_a_database_that_was_made_here(
    postgres_server: PostgresServer, database_template: str
) -> None:
    assert database_template
    made = Database(postgres_server, "made_here")
    await bootstrap.prepare(postgres_server.conninfo(), made.name)
    try:
        run(made, OUTDATED.encode())
        async with await connect(made.conninfo(roles.INGEST)) as connection:
            assert await collations.changed(connection) == []
            row = await (await connection.execute("SELECT 'Z' < 'a', 'a' < 'Ä'")).fetchone()
            assert row == (True, True), "by code point"
    finally:
        drop_database(made)
