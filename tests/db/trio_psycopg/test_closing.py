"""A connection that is closed, by whomever and in the middle of whatever, is an error for who uses it."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import trio

from appliance.db.trio_psycopg import CommitOutcomeUnknown, Connection, wire
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import closing
from tests.support.postgres_server import Database

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")

ROWS = b"SELECT generate_series(1, 1000)"


@pytest.mark.parametrize("size", [1, 10])
async def test_a_stream_whose_connection_is_closed_never_looks_complete(any_kind: Any_, size: int) -> None:
    seen = 0
    with pytest.raises(psycopg.OperationalError):
        async with closing(any_kind.cursor().stream(ROWS, size=size)) as rows:
            async for _ in rows:
                seen += 1
                if seen == 40:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(any_kind.close)
    assert seen == 40
    assert any_kind.closed


async def test_a_copy_whose_connection_is_closed_never_looks_complete(any_kind: Any_) -> None:
    seen = 0
    with pytest.raises(psycopg.OperationalError):
        async with any_kind.cursor().copy(b"COPY (SELECT generate_series(1, 1000)) TO STDOUT") as copy:
            async for _ in copy.rows():
                seen += 1
                if seen == 37:
                    await any_kind.close()
    assert seen == 37


async def test_a_copy_in_whose_connection_is_closed_never_looks_stored(any_kind: Any_, observer: Observer) -> None:
    await any_kind.execute("CREATE TABLE t (n int)")
    with pytest.raises(psycopg.OperationalError):
        async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write_row([1])
            await any_kind.close()
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_a_pipeline_whose_connection_is_closed_is_an_error(any_kind: Any_) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with any_kind.pipeline():
            cursor = await any_kind.execute("SELECT 1")
            await any_kind.close()
            await cursor.fetchone()
    with pytest.raises(psycopg.OperationalError):
        async with any_kind.pipeline():
            pass


async def test_a_server_cursor_whose_connection_is_closed_is_an_error(any_kind: Any_) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with any_kind.transaction(), any_kind.cursor("named") as cursor:
            await cursor.execute(ROWS)
            cursor.itersize = 10
            async for row in cursor:
                if row == (10,):
                    await any_kind.close()
                assert row != (11,)


async def test_waiting_for_notifications_of_a_closed_connection_is_an_error(connection: Any_) -> None:
    await connection.execute("LISTEN news")
    await connection.execute("NOTIFY news, 'first'")

    async def close_soon() -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        await connection.close()

    heard = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_soon)
        with pytest.raises(psycopg.OperationalError):
            async for notification in connection.notifies():
                heard.append(notification.payload)  # noqa: PERF401 - what came before the error counts
    assert heard == ["first"]
    with pytest.raises(psycopg.OperationalError):
        async for _ in connection.notifies(timeout=0):
            pass


async def test_those_waiting_in_line_are_told_that_the_connection_was_closed(any_kind: Any_) -> None:
    refused = 0

    async def ask() -> None:
        nonlocal refused
        with pytest.raises(psycopg.OperationalError):
            await any_kind.execute("SELECT 1")
        refused += 1

    async with trio.open_nursery() as nursery, closing(any_kind.cursor().stream(ROWS)) as rows:
        await anext(rows)
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await any_kind.close()
    assert refused == 3


async def _statement(connection: Any_) -> None:
    await connection.execute("SELECT 1")


async def _cursor(connection: Any_) -> None:
    connection.cursor()


async def _many(connection: Any_) -> None:
    async with connection.transaction():
        pass


CALLS: list[Callable[[Any_], Awaitable[None]]] = [
    _statement,
    _cursor,
    _many,
    lambda connection: connection.commit(),
    lambda connection: connection.rollback(),
    lambda connection: connection.tpc_begin("x"),
]


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_on_a_closed_connection_is_an_ordinary_error(
    connection: Any_, call: Callable[[Any_], Awaitable[None]]
) -> None:
    await connection.close()
    with pytest.raises(psycopg.OperationalError) as caught:
        await call(connection)
    assert not isinstance(caught.value, CommitOutcomeUnknown), "nothing was sent"
    assert not connection.lock.locked()


async def test_a_connection_may_be_closed_twice_and_cancelled_when_closed(connection: Any_) -> None:
    await connection.close()
    await connection.close()
    connection.cancel()
    await connection.cancel_safe()
    assert connection.closed
    assert not connection.broken, "it was closed on purpose"


async def test_a_commit_after_a_lost_connection_says_that_none_was_sent(database: Database, observer: Observer) -> None:
    connection = await Connection.connect(database.conninfo())
    await connection.execute("SELECT 1")
    await _end_session(connection, observer)
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 2")
    assert connection.broken
    with pytest.raises(psycopg.OperationalError, match="no COMMIT was sent") as caught:
        await connection.commit()
    assert not isinstance(caught.value, CommitOutcomeUnknown)


async def test_the_block_of_a_connection_that_was_lost_does_not_end_as_if_committed(
    database: Database, observer: Observer
) -> None:
    with pytest.raises(psycopg.OperationalError, match="no COMMIT was sent"):
        async with await Connection.connect(database.conninfo()) as connection:
            await connection.execute("CREATE TABLE never (n int)")
            await _end_session(connection, observer)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
    async with await Connection.connect(database.conninfo()) as connection:
        await connection.close()  # on purpose: no error


async def _end_session(connection: Any_, observer: Observer) -> None:
    await observer.connection.execute("SELECT pg_terminate_backend(%s)", [connection.pgconn.backend_pid])
    await observer.until(lambda sessions: not sessions)


async def test_a_session_ended_by_the_server_is_told_in_its_words(any_kind: Any_, observer: Observer) -> None:
    pid = any_kind.pgconn.backend_pid
    with pytest.raises(psycopg.errors.AdminShutdown):
        await any_kind.execute(f"SELECT pg_terminate_backend({pid})".encode())
    assert any_kind.closed
    assert any_kind.broken
    await observer.until(lambda sessions: not sessions)


async def test_a_stream_whose_session_is_ended_by_the_server_never_looks_complete(
    any_kind: Any_, observer: Observer
) -> None:
    endless = b"SELECT repeat('x', 1000), generate_series(1, 100000000)"
    with pytest.raises(psycopg.OperationalError):
        async with closing(any_kind.cursor().stream(endless)) as rows:
            await anext(rows)
            await observer.connection.execute("SELECT pg_terminate_backend(%s)", [any_kind.pgconn.backend_pid])
            async for _ in rows:
                pass
    assert any_kind.closed
    assert not any_kind.lock.locked()


@pytest.fixture
def blocked() -> Iterator[int]:
    """The descriptor of a socket that can neither be read nor written."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        yield ours.fileno()


async def test_closing_wakes_a_task_that_waits_to_send_with_one_error(blocked: int) -> None:
    """Not with a group: the wait for reading or writing has a nursery of its own."""
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.notify_closing(blocked)

        nursery.start_soon(close)
        with pytest.raises(psycopg.OperationalError, match="another task"):
            await wire._either(blocked)


async def test_a_cancelled_wait_to_send_is_one_cancellation(blocked: int) -> None:
    raised: list[type[BaseException]] = []
    with trio.move_on_after(0.01) as scope:
        try:
            await wire._either(blocked)
        except BaseException as error:
            raised.append(type(error))
            raise
    assert scope.cancelled_caught
    assert raised == [trio.Cancelled]
