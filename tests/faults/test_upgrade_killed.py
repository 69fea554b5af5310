"""kill -9 of whoever upgrades, at each statement of each migration and at each step of the copy: old schema or new."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.backup.archive import Summary, open_backup, read_archive
from appliance.clock import SystemClock
from appliance.db import locks, roles
from appliance.db.migrations import Migration, migrate, read_applied, shipped
from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.newer_program import newer_program
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.project import ROOT

STATEMENTS = (
    ("CREATE TABLE a (n int)", "INSERT INTO a VALUES (1)"),
    ("ALTER TABLE a ADD m int", "UPDATE a SET m = n", "CREATE INDEX a_m ON a (m)"),
    ("DROP INDEX a_m", "CREATE TABLE b AS SELECT * FROM a"),
)
"""Of each step. The last one of each is followed by its row in schema_migrations and by COMMIT."""
BOUNDARIES = [(step, number) for step, texts in enumerate(STATEMENTS) for number in range(len(texts) + 1)]
"""Before each statement, and before the row and the COMMIT."""
GATE = 7_000_000
WHOLE = [
    set(),
    {("a", "n")},
    {("a", "n"), ("a", "m"), ("a_m", "m")},
    {("a", "n"), ("a", "m"), ("b", "n"), ("b", "m")},
]
"""Columns of tables and indexes after each step."""
COLUMNS = """
SELECT c.relname, a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relname NOT LIKE 'schema_migrations%'
"""
LOCKS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = %s
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
MIGRATOR = """
import sys, trio
from pathlib import Path
from appliance.clock import SystemClock
from appliance.db import migrations
from appliance.db.trio_psycopg import connect

async def main():
    async with await connect(sys.argv[1]) as connection:
        await migrations.migrate(connection, migrations.shipped(Path(sys.argv[2])), clock=SystemClock())

trio.run(main)
"""


@pytest.fixture
def empty(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """A database of the owner with nothing in it."""
    assert database_template
    made = create_database(postgres_server, owner=roles.OWNER)
    yield made
    drop_database(made)


def steps_with_gates(folder: Path) -> list[Migration]:
    """Write the steps, before each statement and behind the last one a gate that a test can close."""
    for step, texts in enumerate(STATEMENTS):
        gates = [f"SELECT pg_advisory_xact_lock({GATE + 100 * step + number})" for number in range(len(texts) + 1)]
        lines = [line for pair in zip(gates, (*texts, "SELECT 1"), strict=True) for line in pair]
        (folder / f"{step + 1:04}_step.sql").write_text(";\n".join(lines))
    return shipped(folder)


@contextmanager
def migrator(database: Database, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-c", MIGRATOR, database.conninfo(roles.OWNER), str(folder)]
    with subprocess.Popen(program, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def closed_gate(database: Database, step: int, number: int) -> AsyncIterator[Observer]:
    async with await connect(database.conninfo()) as gate:
        await gate.execute("SELECT pg_advisory_lock(%s)", [GATE + 100 * step + number])
        yield Observer(gate)


async def state(connection: Connection[Any]) -> tuple[int, set[tuple[str, str]]]:
    """Return how many steps are recorded, and which columns there are."""
    columns = await (await connection.execute(COLUMNS)).fetchall()
    return len(await read_applied(connection)), set(columns)


@pytest.mark.parametrize(("step", "number"), BOUNDARIES if soak.LONG else BOUNDARIES[::2])
async def test_killed_at_any_statement_the_schema_is_whole_and_the_next_start_goes_on(
    empty: Database, tmp_path: Path, step: int, number: int
) -> None:
    known = steps_with_gates(tmp_path)
    async with closed_gate(empty, step, number) as observer:
        with migrator(empty, tmp_path) as process:
            await observer.until_waiting("advisory")
            process.kill()
            process.wait()
        assert await state(observer.connection) == (step, WHOLE[step]), "nothing of a step is seen before it is whole"
    async with await connect(empty.conninfo(roles.OWNER)) as next_start:
        # waits until the server has noticed: the lock of the killed one ends with its session
        done = await migrate(next_start, known, clock=SystemClock())
        assert [migration.version for migration in done] == list(range(step + 1, len(STATEMENTS) + 1))
        assert await state(next_start) == (len(STATEMENTS), WHOLE[-1])
        held = await (await next_start.execute(LOCKS, [locks.MIGRATION_LOCK])).fetchone()
        assert held == (0,), "no lock is left"


FAILPOINTS = (
    "backup_begun",
    "backup_half",
    "backup_written",
    "backup_verified",
    "backup_named",
    "upgrade_copied",
)
"""Steps of an upgrade, in their order."""


def test_killed_at_any_step_of_the_copy_the_schema_is_the_old_one_and_every_copy_is_whole(
    appliance: ApplianceProcess, tmp_path: Path
) -> None:
    appliance.furnish()
    appliance.program = newer_program(tmp_path / "newer", "CREATE TABLE newer (n int)")
    step, folder = f"{len(shipped()) + 1:04}_newer.sql", appliance.data_dir / "upgrades"
    for failpoint in FAILPOINTS if soak.LONG else FAILPOINTS[1::3]:
        killed = appliance.invoke("migrate", "--json", EDGE_FAILPOINT=failpoint)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        for copy in folder.glob("*.tar"):
            with open_backup(copy, None) as stream:
                assert isinstance(list(read_archive(stream))[-1], Summary)
    last = appliance.invoke("migrate", "--json")
    assert json.loads(last.stdout) == {"version": len(shipped()) + 1, "applied": [step]}, last.stderr
    assert len(list(folder.iterdir())) == 1, "nothing is left of the killed ones"
    assert appliance.children() == []
