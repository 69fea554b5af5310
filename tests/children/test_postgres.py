"""The embedded Postgres, for real: durable, private, and up again whatever happened to it."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from appliance.children.account import child_account
from appliance.children.data_dir import open_data_dir
from appliance.children.keeper import Patience
from appliance.children.polling import until
from appliance.children.postgres import Postgres, PostgresEndpoint
from appliance.children.process import ENVIRONMENT
from appliance.clock import SystemClock
from appliance.errors import ApplianceError
from tests.support.processes import freeze

from .conftest import ROLES

pytestmark = pytest.mark.real


def ask(endpoint: PostgresEndpoint, *queries: str, user: str = "postgres") -> str:
    """The first value of the last query's answer."""
    with psycopg.connect(host=str(endpoint.socket_dir), port=endpoint.port, user=user, dbname="postgres") as connection:
        cursor = connection.cursor()
        for query in queries:
            cursor.execute(query.encode())
        row = cursor.fetchone()
    assert row is not None
    return str(row[0])


async def test_it_is_durable_private_and_knows_who_connects(data_path: Path) -> None:
    with open_data_dir(data_path) as data_dir:
        main = data_path / "postgres" / "postgresql.auto.conf"
        main.write_text("fsync = off\nsynchronous_commit = off\nlisten_addresses = '*'\n")
        (data_path / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
        async with trio.open_nursery() as nursery:
            postgres = Postgres(data_dir, roles=ROLES, clock=SystemClock())
            endpoint = await nursery.start(postgres.run)
            for setting, value in [
                ("fsync", "on"),
                ("full_page_writes", "on"),
                ("synchronous_commit", "on"),
                ("listen_addresses", ""),
                ("data_checksums", "on"),
                ("server_encoding", "UTF8"),
                ("TimeZone", "UTC"),
                ("jit", "off"),
            ]:
                assert ask(endpoint, f"SELECT current_setting('{setting}')") == value, setting
            ask(endpoint, "CREATE ROLE appliance_ingest LOGIN", "CREATE ROLE outsider LOGIN", "SELECT 1")
            assert ask(endpoint, "SELECT current_user", user="appliance_ingest") == "appliance_ingest"
            with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
                ask(endpoint, "SELECT 1", user="outsider")
            assert postgres.status.pid is not None
            assert not postgres.status.last_error
            nursery.cancel_scope.cancel()
    assert not postgres.ready.is_set()


async def test_killed_it_comes_back_with_what_was_committed(data_path: Path) -> None:
    with open_data_dir(data_path) as data_dir:
        async with trio.open_nursery() as nursery:
            postgres = Postgres(data_dir, roles=ROLES, clock=SystemClock(), max_bytes=400 * 1024 * 1024)
            endpoint = await nursery.start(postgres.run)
            log = ask(endpoint, "SELECT current_setting('max_wal_size')")
            assert log == "66MB", "its part of what the data folder may take, whatever the disk has"
            ask(endpoint, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT 1")
            first = postgres.status.pid
            assert first is not None
            # A backend that does not notice the death of its postmaster: it holds the shared memory until stopped.
            backend = int(ask(endpoint, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
            os.kill(backend, signal.SIGSTOP)
            os.kill(first, signal.SIGKILL)
            with trio.fail_after(60):
                await until(lambda: postgres.status.restarts > 0, period=0.005)
                os.kill(backend, signal.SIGCONT)
                await postgres.ready.wait()
            assert ask(endpoint, "SELECT n FROM kept") == "7"
            assert postgres.status.pid != first
            nursery.cancel_scope.cancel()


@pytest.fixture
def somebody() -> Iterator[int]:
    """A process of the user Postgres runs as: one of another user it would take for dead."""
    account = child_account("postgres", package="postgresql")
    with subprocess.Popen(["sleep", "60"], user=account.uid if account else None) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("who", ["a process", "our own thread"])
async def test_a_pid_file_that_names_somebody_alive_is_no_obstacle(data_path: Path, somebody: int, who: str) -> None:
    named = somebody if who == "a process" else threading.get_native_id()
    pid_file = data_path / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{named}\n{data_path}/postgres\n1795464494\n5432\n/tmp\n\n0 0\nready\n")
    with open_data_dir(data_path) as data_dir:
        async with trio.open_nursery() as nursery:
            postgres = Postgres(data_dir, roles=ROLES, clock=SystemClock())
            with trio.fail_after(60):
                endpoint = await nursery.start(postgres.run)
            assert ask(endpoint, "SELECT 1") == "1"
            nursery.cancel_scope.cancel()


async def test_a_server_that_was_left_is_stopped_first(data_path: Path, folder: Path) -> None:
    account = child_account("postgres", package="postgresql")
    options: dict[str, object] = {"cwd": "/", "env": dict(ENVIRONMENT)}
    if account:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
    sockets = folder / "sockets"
    sockets.mkdir()
    sockets.chmod(0o777)
    with open_data_dir(data_path) as data_dir:
        async with trio.open_nursery() as nursery:
            programs = Postgres(data_dir, roles=ROLES, clock=SystemClock())
            await nursery.start(programs.run)
            binary = programs.programs.folder / "postgres"
            nursery.cancel_scope.cancel()
        left = await trio.to_thread.run_sync(_start_left, binary, data_path / "postgres", sockets, options)
        try:
            async with trio.open_nursery() as nursery:
                endpoint = await nursery.start(Postgres(data_dir, roles=ROLES, clock=SystemClock()).run)
                assert left.poll() is not None
                assert ask(endpoint, "SELECT 1") == "1"
                nursery.cancel_scope.cancel()
        finally:
            left.kill()
            left.wait()


def _start_left(binary: Path, cluster: Path, sockets: Path, options: dict[str, object]) -> "subprocess.Popen[bytes]":
    """A server that nobody watches, as after kill -9 of an appliance; returns when it is up."""
    process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        [binary, "-D", cluster, "-k", sockets], stderr=subprocess.PIPE, **options
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"ready to accept" in line:
            break
    process.stderr.close()
    return process


async def test_a_killed_first_start_leaves_nothing_half(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Postgres(data_dir, roles=ROLES, clock=SystemClock()).run)
            with trio.fail_after(60):
                await until((folder / "data" / "postgres.new" / "base").exists, period=0.005)
            nursery.cancel_scope.cancel()
        assert not (folder / "data" / "postgres").exists()
        assert (folder / "data" / "postgres.new").exists()
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(Postgres(data_dir, roles=ROLES, clock=SystemClock()).run)
            assert ask(endpoint, "SELECT 1") == "1"
            nursery.cancel_scope.cancel()
        assert not (folder / "data" / "postgres.new").exists()


async def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        (folder / "data" / "postgres").mkdir()
        (folder / "data" / "postgres" / "thesis.txt").touch()
        with pytest.raises(ApplianceError, match="is not a Postgres cluster"):
            await Postgres(data_dir, roles=ROLES, clock=SystemClock()).run()
        assert (folder / "data" / "postgres" / "thesis.txt").exists()


async def test_frozen_it_is_found_by_asking_it_and_started_again(data_path: Path) -> None:
    patience = Patience(ask=0.05, slow=0.2, hang=1.5)
    with open_data_dir(data_path) as data_dir:
        async with trio.open_nursery() as nursery:
            lines: list[str] = []
            postgres = Postgres(data_dir, roles=ROLES, clock=SystemClock(), patience=patience, on_line=lines.append)
            endpoint = await nursery.start(postgres.run)
            ask(endpoint, "CREATE TABLE kept_frozen AS SELECT 7 AS n", "SELECT 1")
            await trio.sleep(0.3)  # several questions
            assert (postgres.silent, [line for line in lines if "startup packet" in line]) == (False, [])
            before = postgres.status.pid
            assert before is not None
            freeze(before)
            with trio.fail_after(30):
                await until(lambda: postgres.silent, period=0.01)
                await until(lambda: postgres.status.restarts == 1 and postgres.ready.is_set(), period=0.01)
            assert ask(endpoint, "SELECT n FROM kept_frozen") == "7"
            assert postgres.status.pid != before
            assert not Path(f"/proc/{before}").exists()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (
            "16\n",
            r"PostgreSQL 16, and here is PostgreSQL \d+.*`appliance backup FILE` .*`appliance restore FILE --replace`",
        ),
        ("", r"PG_VERSION is damaged: restore a backup with `appliance restore FILE --replace`"),
    ],
)
async def test_data_of_another_major_version_are_refused_with_the_way_and_its_room(
    data_path: Path, version: str, told: str
) -> None:
    (data_path / "postgres" / "PG_VERSION").write_text(version)
    with open_data_dir(data_path) as data_dir:
        postgres = Postgres(data_dir, roles=ROLES, clock=SystemClock())
        with pytest.raises(ApplianceError, match=told) as refused:
            await postgres.run()
    if version:
        told = r"need about (\d+) MB beside the old ones, and FILE at most some (\d+) MB; [\d,]+ MB are free"
        room = re.search(told, str(refused.value))
        assert room is not None
        assert int(room[1]) > 2 * 128
        assert 0 < int(room[2]) < 100
