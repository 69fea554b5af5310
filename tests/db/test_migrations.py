"""The schema goes forward, whole steps at a time, whoever else is at it."""

import ast
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from appliance import __version__
from appliance.clock import SystemClock
from appliance.db import locks, migrations, roles
from appliance.db.migrations import Applied, Migration, migrate, outstanding, pending, schema_version, shipped
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from tests.db.conftest import Observer, cancel_when
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.project import ROOT


@pytest.fixture
async def owner(empty_database: Database) -> AsyncIterator[Connection[Any]]:
    """A session of the owner in an empty database."""
    opened = await connect(empty_database.conninfo(roles.OWNER))
    yield opened
    opened.abandon()


def steps(folder: Path, *texts: str) -> list[Migration]:
    """Migrations 1, 2, ... with these texts."""
    for number, text in enumerate(texts, start=1):
        (folder / f"{number:04}_step.sql").write_text(text)
    return shipped(folder)


async def tables(connection: Connection[Any]) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    return [name for (name,) in await (await connection.execute(query)).fetchall()]


async def test_each_step_is_taken_once_and_recorded(owner: Connection[Any], tmp_path: Path) -> None:
    known = steps(tmp_path, "CREATE TABLE a (n int); INSERT INTO a VALUES (1);", "-- 100%\nALTER TABLE a ADD m int")
    assert await schema_version(owner) == 0
    assert await pending(owner, known) == known
    assert await migrate(owner, known, clock=SystemClock()) == known
    assert await migrate(owner, known, clock=SystemClock()) == []
    assert await pending(owner, known) == []
    assert await schema_version(owner) == 2
    rows = await (await owner.execute("SELECT version, name, checksum, program FROM schema_migrations")).fetchall()
    assert rows == [(m.version, "step", m.checksum, __version__) for m in known]


async def test_a_failed_step_leaves_the_schema_before_it_and_says_where(
    owner: Connection[Any], empty_database: Database, tmp_path: Path
) -> None:
    known = steps(
        tmp_path, "CREATE TABLE a (n int)", "CREATE TABLE b (n int);\n\nSELECT nonsense;", "CREATE TABLE c (n int)"
    )
    with pytest.raises(ApplianceError, match=r'0002_step\.sql line 3 failed.*column "nonsense" does not exist'):
        await migrate(owner, known, clock=SystemClock())
    async with await connect(empty_database.conninfo(roles.OWNER)) as after:
        assert await tables(after) == ["a", "schema_migrations"]
        assert await schema_version(after) == 1
        mended = steps(tmp_path, "CREATE TABLE a (n int)", "CREATE TABLE b (n int)", "CREATE TABLE c (n int)")
        assert [m.version for m in await migrate(after, mended, clock=SystemClock())] == [2, 3]


async def test_a_database_newer_than_the_program_is_refused(owner: Connection[Any], tmp_path: Path) -> None:
    known = steps(tmp_path, "CREATE TABLE a (n int)", "CREATE TABLE b (n int)")
    await migrate(owner, known, clock=SystemClock())
    with pytest.raises(ApplianceError, match=f"newer than this program: its schema is 0002_step.*{__version__}"):
        await pending(owner, known[:1])
    with pytest.raises(ApplianceError, match="newer than this program"):
        await migrate(owner, known[:1], clock=SystemClock())


async def test_an_applied_step_must_not_change(owner: Connection[Any], tmp_path: Path) -> None:
    await migrate(owner, steps(tmp_path, "CREATE TABLE a (n int)"), clock=SystemClock())
    changed = steps(tmp_path, "CREATE TABLE a (n bigint)", "CREATE TABLE b (n int)")
    with pytest.raises(ApplianceError, match=r"0001_step\.sql is not the one applied"):
        await migrate(owner, changed, clock=SystemClock())


MIGRATOR = """
import sys, trio
from appliance.clock import SystemClock
from appliance.db import migrations
from appliance.db.trio_psycopg import connect

async def main():
    async with await connect(sys.argv[1]) as connection:
        done = await migrations.migrate(connection, clock=SystemClock())
        print([migration.version for migration in done], flush=True)

trio.run(main)
"""


def start_migrator(database: Database) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATOR, database.conninfo(roles.OWNER)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def test_of_two_processes_one_migrates_and_one_finds_it_done(empty_database: Database) -> None:
    async with await connect(empty_database.conninfo()) as gate:
        await gate.execute("SELECT pg_advisory_lock(%s)", [locks.MIGRATION_LOCK])
        migrators = [start_migrator(empty_database) for _ in range(2)]
        try:
            await Observer(gate).until(lambda sessions: [s.wait_event for s in sessions] == ["advisory", "advisory"])
            await gate.execute("SELECT pg_advisory_unlock(%s)", [locks.MIGRATION_LOCK])
            told = [ast.literal_eval(migrator.communicate(timeout=30)[0].splitlines()[-1]) for migrator in migrators]
        finally:
            for migrator in migrators:
                migrator.kill()
                migrator.communicate()
    assert sorted(told) == [[], [migration.version for migration in shipped()]]


async def test_a_cancelled_migrator_gives_the_lock_back(
    owner: Connection[Any], empty_database: Database, tmp_path: Path
) -> None:
    known = steps(tmp_path, "CREATE TABLE a (n int)", "CREATE TABLE b (n int); SELECT pg_sleep(60)")
    async with await connect(empty_database.conninfo()) as other:
        observer = Observer(other)

        async def work() -> None:
            await migrate(owner, known, clock=SystemClock())

        assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(1.5)
        await observer.until(lambda sessions: not sessions)
        assert await tables(other) == ["a", "schema_migrations"]
        assert await observer.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_gaps_and_odd_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0002_late.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=r"0002_late\.sql is found where migration 0001 is expected"):
        shipped(tmp_path)
    (tmp_path / "0001-first.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match="no name for a migration"):
        shipped(tmp_path)


def test_a_foreign_schema_is_refused() -> None:
    known = [Migration(1, "a", "x", "")]
    assert outstanding(known, []) == known
    assert outstanding(known, [Applied(1, "a", "x", "1.0")]) == []
    with pytest.raises(ApplianceError):
        outstanding(known, [Applied(2, "b", "x", "1.0")])


def test_no_shipped_migration_ends_its_own_transaction() -> None:
    """It would leave half a step without its row."""
    for migration in shipped():
        bodies = re.sub(r"\$\$.*?\$\$|--[^\n]*", "", migration.text, flags=re.DOTALL)
        assert not re.search(r"^\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT)\b", bodies, re.MULTILINE | re.IGNORECASE)


async def test_the_shipped_migrations_give_all_of_it_to_the_owner(database: Database) -> None:
    async with await connect(database.conninfo()) as connection:
        assert await pending(connection) == []
        foreign = await connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner <> %s::regrole",
            [roles.OWNER],
        )
        assert await foreign.fetchall() == []


async def test_others_may_not_migrate(empty_database: Database) -> None:
    async with await connect(empty_database.conninfo(roles.WEB)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await migrations.migrate(connection, clock=SystemClock())
