"""Connecting has an end, and losing a connection has a name."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio

from appliance.db.trio_psycopg import CommitOutcomeUnknown, connect
from tests.support.busy import within
from tests.support.postgres_server import Database, PostgresServer

pytestmark = pytest.mark.real  # servers of their own, which the fixtures' names do not tell

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a socket that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    """A server that tests may kill."""
    with PostgresServer() as server:
        yield server


def open_descriptors() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


async def test_a_server_that_never_answers_costs_the_timeout_and_no_socket(black_hole: int) -> None:
    before = open_descriptors()
    began = trio.current_time()
    with pytest.raises(psycopg.errors.ConnectionTimeout, match=r"127\.0\.0\.1"):
        await connect(f"host=127.0.0.1 port={black_hole} dbname=x user=x", timeout=0.2)
    assert 0.2 <= trio.current_time() - began < within(1)
    assert open_descriptors() == before


async def test_cancelled_while_connecting_leaves_no_socket(black_hole: int) -> None:
    before = open_descriptors()
    with trio.move_on_after(0.1) as scope:
        await connect(f"host=127.0.0.1 port={black_hole} dbname=x user=x")
    assert scope.cancelled_caught
    assert open_descriptors() == before


async def test_the_second_address_gets_its_share_of_the_time(black_hole: int, database: Database) -> None:
    socket_dir = database.server.socket_dir
    conninfo = (
        f"host=127.0.0.1,{socket_dir} port={black_hole},{database.server.port} dbname={database.name} user=postgres"
    )
    async with await connect(conninfo, timeout=2.0) as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_all_addresses_are_named_when_none_answers(black_hole: int, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        await connect(f"host={tmp_path},127.0.0.1 port=1,{black_hole} dbname=x user=x", timeout=0.2)
    assert str(tmp_path) in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


async def test_a_refusal_of_the_server_is_told_in_its_words(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="nobody"):
        await connect(database.conninfo("nobody"))


class _Names(trio.abc.HostnameResolver):
    """Knows one name, and one that is never answered."""

    async def getaddrinfo(self, host: bytes | None, port: Any, *_: Any) -> Any:
        if host == b"silent.example":
            await trio.sleep_forever()
        if host != b"database.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError(f"nobody asks for the name of {sockaddr} ({flags})")


async def test_names_are_looked_up_within_the_deadline(black_hole: int) -> None:
    trio.socket.set_custom_hostname_resolver(_Names())
    with pytest.raises(psycopg.errors.ConnectionTimeout, match=r"127\.0\.0\.1"):
        await connect(f"host=database.example port={black_hole} dbname=x user=x", timeout=0.2)
    with pytest.raises(psycopg.errors.ConnectionTimeout, match=r"silent\.example"):
        await connect("host=silent.example dbname=x user=x", timeout=0.1)
    with pytest.raises(psycopg.OperationalError, match=r"other\.example"):
        await connect("host=other.example dbname=x user=x", timeout=0.1)


async def test_killed_in_mid_query(mortal_server: PostgresServer) -> None:
    connection = await connect(mortal_server.conninfo())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_kill_when_asleep, mortal_server, connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT pg_sleep(60)")
    assert connection.closed
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")


async def test_killed_in_a_transaction_is_an_error_even_if_the_block_did_not_notice(
    mortal_server: PostgresServer,
) -> None:
    connection = await connect(mortal_server.conninfo())
    with pytest.raises(psycopg.OperationalError):
        async with connection.transaction():
            await connection.execute("SELECT 1")
            await _terminate(mortal_server, connection.info.backend_pid)
    assert connection.closed


async def test_killed_during_commit_is_an_unknown_outcome(mortal_server: PostgresServer) -> None:
    connection = await connect(mortal_server.conninfo())
    await connection.execute(
        b"CREATE TEMP TABLE slow (n int);"
        b"CREATE FUNCTION pg_temp.doze() RETURNS trigger LANGUAGE plpgsql"
        b" AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
        b"CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
        b" FOR EACH ROW EXECUTE FUNCTION pg_temp.doze()"
    )
    outcomes: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_kill_when_asleep, mortal_server, connection.info.backend_pid)
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO slow VALUES (1)")
        except CommitOutcomeUnknown as error:
            outcomes.append(error)
    assert len(outcomes) == 1
    assert connection.closed


async def _kill_when_asleep(server: PostgresServer, pid: int) -> None:
    async with await connect(server.conninfo()) as observer:
        asleep = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        while await (await observer.execute(asleep, [pid])).fetchone() != (True,):
            await trio.sleep(0.002)
        await observer.execute("SELECT pg_terminate_backend(%s)", [pid])


async def _terminate(server: PostgresServer, pid: int) -> None:
    async with await connect(server.conninfo()) as observer:
        await observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
