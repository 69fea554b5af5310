"""Who is on the database: told by locks, which end with their sessions."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.migrations import migrate, shipped
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from appliance.peers import attendance, store
from appliance.peers.attendance import Attendance, Attendant
from tests.support.busy import within
from tests.support.newer_program import newer_program
from tests.support.postgres_server import Database

HERE, THERE = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture
async def migrator(database: Database) -> AsyncIterator[Connection[Any]]:
    """A session of the owner."""
    opened = await connect(database.conninfo(roles.OWNER))
    yield opened
    opened.abandon()


def service(database: Database, instance: str) -> Attendance:
    return Attendance(partial(connect, database.conninfo(roles.INGEST)), instance)


async def test_all_who_run_are_known_by_name_until_their_sessions_end(
    database: Database, migrator: Connection[Any]
) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as connection:
        await store.enlist(connection, HERE, "gateway-1", "1.2.3")
    assert await attendance.take_alone(migrator) == []
    await attendance.leave(migrator)
    async with trio.open_nursery() as nursery:
        for instance in (HERE, THERE):
            await nursery.start(service(database, instance).run)
        found = await attendance.take_alone(migrator)
        assert found == [Attendant(HERE, "gateway-1", "1.2.3"), Attendant(THERE, None, None)]
        assert [one.title for one in found] == [
            f"gateway-1 (version 1.2.3, instance {HERE})",
            f"an appliance (instance {THERE})",
        ]
        nursery.cancel_scope.cancel()
    assert await attendance.take_alone(migrator) == [], "a session that ended holds nothing"


async def test_a_start_waits_for_a_migration_and_is_refused_when_that_made_the_database_newer(
    database: Database, migrator: Connection[Any], tmp_path: Path
) -> None:
    assert await attendance.take_alone(migrator) == []
    newer = shipped(newer_program(tmp_path / "newer", "SELECT 1") / "sql" / "migrations")
    with pytest.RaisesGroup(pytest.RaisesExc(ApplianceError, match="^the database is newer than this program")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nursery.start, service(database, HERE).run)
            await trio.sleep(0.2)
            assert nursery.child_tasks, "it must wait"
            await migrate(migrator, newer, clock=SystemClock())
            await attendance.leave(migrator)


LOSE_SESSION = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()
"""


async def test_one_that_runs_is_back_after_its_session_was_lost_and_ends_when_migrated_meanwhile(
    database: Database, migrator: Connection[Any], tmp_path: Path
) -> None:
    newer = shipped(newer_program(tmp_path / "newer", "SELECT 1") / "sql" / "migrations")
    migrated = False
    with pytest.RaisesGroup(
        pytest.RaisesExc(ApplianceError, match="^the database was migrated while this program ran, which ends")
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(service(database, HERE).run)
            async with await connect(database.conninfo()) as superuser:
                await superuser.execute(LOSE_SESSION, [f"{attendance.NAME}{HERE}"])
            with trio.fail_after(within(30)):
                while not await attendance.attendants(migrator):
                    await trio.sleep(0.02)
            await migrate(migrator, newer, clock=SystemClock())
            migrated = True
            await trio.sleep(within(30))
    assert migrated


async def test_programs_from_before_the_lock_are_known_by_their_listening(
    database: Database, migrator: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as connection:
        for instance, name in ((HERE, "gateway-1"), (THERE, "gateway-2")):
            await store.enlist(connection, instance, name, "0.0.9")
            await connection.execute("INSERT INTO listening VALUES (%s, '2026-05-01', '2026-05-01')", [instance])
        monkeypatch.setattr(attendance, "LISTENING_SECONDS", 0.3)
        assert await attendance.listeners(migrator) == [], "both have stopped"
        monkeypatch.setattr(attendance, "LISTENING_SECONDS", within(30))

        async def move_on() -> None:
            await trio.sleep(0.3)
            await connection.execute("UPDATE listening SET ended_at = '2026-05-02' WHERE instance = %s", [THERE])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(move_on)
            assert await attendance.listeners(migrator) == [Attendant(THERE, "gateway-2", "0.0.9")]
        await migrator.execute("DROP TABLE listening CASCADE")
    assert await attendance.listeners(migrator) == [], "a schema from before there were peers"
