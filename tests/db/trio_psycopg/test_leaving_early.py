"""Whoever leaves a stream, a COPY or a wait for notifications early leaves a connection that the next one can use."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import gc
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus

from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer, cancel_when
from tests.db.trio_psycopg.conftest import closing, dropped_generator, value
from tests.support.postgres_server import Database

Any_ = Connection[Any]

ROWS = b"SELECT n FROM generate_series(1, 1000) AS n"
ENDLESS = b"SELECT repeat('x', 1000), generate_series(1, 1000000000)"


pytestmark = pytest.mark.usefixtures("never_stuck")


@dropped_generator
@pytest.mark.parametrize("query", [ROWS, ENDLESS], ids=["short", "endless"])
async def test_a_break_out_of_a_stream_leaves_the_connection_usable(
    any_kind: Any_, observer: Observer, query: bytes
) -> None:
    async for _ in any_kind.cursor().stream(query):
        break
    assert await value(any_kind) == 7
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_leaving_a_stream_or_notifications_of_ours_is_no_reason_for_a_warning(connection: Any_) -> None:
    await connection.execute("LISTEN news")
    await connection.execute("NOTIFY news")
    async for _ in connection.notifies(timeout=20):
        break
    async for _ in connection.cursor().stream(ENDLESS):
        break
    assert await value(connection) == 7


async def test_a_stream_that_was_interrupted_never_looks_complete(connection: Any_, observer: Observer) -> None:
    """A generator would: it is at its end after any exception."""
    rows = connection.cursor().stream("SELECT repeat('x', 20000), pg_sleep(0.1 * n) FROM generate_series(0, 20) AS n")
    with trio.move_on_after(0.15) as scope:
        async for _ in rows:
            pass
    assert scope.cancelled_caught
    with pytest.raises(psycopg.OperationalError, match="interrupted"):
        await anext(rows)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_stream_that_is_closed_or_at_its_end_stays_there(connection: Any_) -> None:
    rows: Any = connection.cursor().stream(ROWS)
    await anext(rows)
    await rows.aclose()
    assert [row async for row in rows] == []
    rows = connection.cursor().stream("SELECT 1")
    assert [row async for row in rows] == [(1,)]
    assert [row async for row in rows] == []
    rows = connection.cursor().stream("SELECT 1")
    with pytest.raises(ZeroDivisionError):
        await rows.athrow(ZeroDivisionError)


@dropped_generator
async def test_another_task_gets_the_connection_after_a_break(any_kind: Any_) -> None:
    async def leave() -> None:
        async for _ in any_kind.cursor().stream(ENDLESS):
            break

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await value(any_kind) == 7


@dropped_generator
async def test_a_break_in_a_transaction_keeps_what_the_transaction_did(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        async for _ in connection.cursor().stream(ROWS):
            break
        await connection.execute("INSERT INTO t VALUES (2)")
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [1, 2]


@dropped_generator
async def test_a_transaction_whose_last_act_is_a_break_commits_or_says_that_it_did_not(
    any_kind: Any_, observer: Observer
) -> None:
    await any_kind.execute("CREATE TABLE t (n int)")
    done = False
    try:
        async with any_kind.transaction():
            await any_kind.execute("INSERT INTO t VALUES (1)")
            async for _ in any_kind.cursor().stream(ENDLESS):
                break
        done = True
    except psycopg.errors.InFailedSqlTransaction:
        pass
    assert await observer.scalar("SELECT count(*) FROM t") == int(done)
    assert not any_kind.closed
    assert await value(any_kind) == 7


async def test_a_stream_that_is_closed_gives_the_connection_back_at_once(any_kind: Any_) -> None:
    for query in (ROWS, ENDLESS):
        async with closing(any_kind.cursor().stream(query)) as rows:
            async for _ in rows:
                break
        assert not any_kind.lock.locked()
        assert any_kind.pgconn.transaction_status == TransactionStatus.IDLE
    assert await value(any_kind) == 7


async def test_an_error_in_the_body_of_a_stream_is_the_error_that_is_seen(any_kind: Any_, observer: Observer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with closing(any_kind.cursor().stream(ENDLESS)) as rows:
            async for _ in rows:
                raise ZeroDivisionError
    await observer.nothing_left_behind(any_kind)


async def test_a_cancelled_body_of_a_stream_leaves_nothing(any_kind: Any_, observer: Observer) -> None:
    reading = trio.Event()

    async def work() -> None:
        async with closing(any_kind.cursor().stream(ENDLESS)) as rows:
            async for _ in rows:
                reading.set()
                await trio.sleep_forever()

    await cancel_when(reading.wait(), work)
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


@dropped_generator
async def test_a_stream_that_only_the_garbage_collector_finds_is_ended_by_it(any_kind: Any_) -> None:
    async def leave() -> None:
        rows = any_kind.cursor().stream(ENDLESS)
        circle: list[Any] = [rows]
        circle.append(circle)
        await anext(rows)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
    assert any_kind.lock.locked()
    gc.collect()
    assert await value(any_kind) == 7


@pytest.mark.usefixtures("short_grace")
async def test_a_task_that_waits_for_its_own_stream_is_told_so(any_kind: Any_) -> None:
    async with closing(any_kind.cursor().stream(ROWS)) as rows:
        assert await anext(rows) == (1,)
        with pytest.raises(psycopg.ProgrammingError, match="aclosing"):
            await any_kind.execute("SELECT 1")
        assert await anext(rows) == (2,)
    assert await value(any_kind) == 7


@pytest.mark.usefixtures("short_grace")
async def test_a_transaction_left_with_a_stream_still_open_costs_the_connection(connection: Any_) -> None:
    rows = connection.cursor().stream(ENDLESS)
    with pytest.raises(psycopg.OperationalError, match="not closed"):
        async with connection.transaction():
            await anext(rows)
    assert connection.closed
    await rows.aclose()  # type: ignore[attr-defined]


async def test_tasks_wait_in_line_for_the_end_of_a_stream(any_kind: Any_) -> None:
    order: list[str] = []

    async def ask(name: str) -> None:
        await any_kind.execute("SELECT 1")
        order.append(name)

    async with trio.open_nursery() as nursery, closing(any_kind.cursor().stream(ROWS)) as rows:
        await anext(rows)
        for name in ("first", "second", "third"):
            nursery.start_soon(ask, name)
            await trio.testing.wait_all_tasks_blocked()
        assert [row async for row in rows] == [(n,) for n in range(2, 1001)]
        order.append("stream")
    assert order == ["stream", "first", "second", "third"]


async def test_a_task_that_gives_up_waiting_in_line_does_not_block_those_behind(any_kind: Any_) -> None:
    async with trio.open_nursery() as nursery, closing(any_kind.cursor().stream(ROWS)) as rows:
        await anext(rows)

        async def give_up() -> None:
            with trio.move_on_after(0.01):
                await any_kind.execute("SELECT 1")

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(value, any_kind)
        await trio.sleep(0.05)
    assert not any_kind.lock.locked()


async def test_rows_fetched_after_leaving_a_stream_are_an_error(any_kind: Any_) -> None:
    cursor = any_kind.cursor()
    async with closing(cursor.stream(ROWS)) as rows:
        await anext(rows)
    with pytest.raises(psycopg.ProgrammingError):
        await cursor.fetchone()
    await cursor.execute("SELECT 8")
    assert await cursor.fetchone() == (8,)


async def test_a_stream_that_was_begun_wrongly_leaves_nothing(any_kind: Any_, observer: Observer) -> None:
    with pytest.raises(ValueError, match="size"):
        await anext(any_kind.cursor().stream("SELECT 1", size=0))
    await observer.nothing_left_behind(any_kind)


@pytest.mark.parametrize("statement", ["COPY t FROM STDIN", "COPY (SELECT generate_series(1, 1000000)) TO STDOUT"])
async def test_a_copy_that_is_not_asked_for_as_one_leaves_nothing(
    any_kind: Any_, observer: Observer, statement: str
) -> None:
    await any_kind.execute("CREATE TABLE t (n int)")
    for wrong in (any_kind.execute, any_kind.cursor().execute):
        with pytest.raises(psycopg.ProgrammingError):
            await wrong(statement.encode())
        await observer.nothing_left_behind(any_kind)
    with pytest.raises(psycopg.ProgrammingError):
        async for _ in any_kind.cursor().stream(statement.encode()):
            pass
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


@pytest.mark.parametrize("rows", [10, 1_000_000_000])
async def test_a_copy_that_is_not_read_to_its_end_leaves_nothing(any_kind: Any_, observer: Observer, rows: int) -> None:
    query = f"COPY (SELECT repeat('x', 100), generate_series(1, {rows})) TO STDOUT".encode()
    async with any_kind.cursor().copy(query) as copy:
        assert await copy.read()
    with pytest.raises(psycopg.Error):
        await copy.read()
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


@dropped_generator
async def test_a_generator_around_a_copy_may_be_left_too(any_kind: Any_, observer: Observer) -> None:
    async def numbers() -> AsyncIterator[Any]:
        async with any_kind.cursor().copy("COPY (SELECT generate_series(1, 100000000)) TO STDOUT") as copy:
            async for row in copy.rows():
                yield row

    async for row in numbers():
        assert row == ("1",)
        break
    assert await value(any_kind) == 7
    await observer.nothing_left_behind(any_kind)


@dropped_generator
async def test_a_generator_around_a_transaction_may_be_left_too(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int)")

    async def inserted() -> AsyncIterator[int]:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            yield 1

    async for _ in inserted():
        break
    await trio.testing.wait_all_tasks_blocked(0.05)
    await observer.nothing_left_behind(connection)
    assert await observer.scalar("SELECT count(*) FROM t") == 0


@dropped_generator
async def test_a_break_out_of_notifications_loses_neither_connection_nor_notification(
    connection: Any_, observer: Observer
) -> None:
    await connection.execute("LISTEN news")
    async with observer.connection.transaction():
        for number in range(3):
            await observer.connection.execute("SELECT pg_notify('news', %s)", [str(number)])
    async for heard in connection.notifies(timeout=20):
        assert heard.payload == "0"
        break
    assert not connection.lock.locked()
    assert await value(connection) == 7
    assert [heard.payload async for heard in connection.notifies(timeout=0)] == ["1", "2"]


@dropped_generator
async def test_a_pool_lends_no_connection_whose_stream_was_left(database: Database) -> None:
    async with open_pool(database.conninfo(), name="test", max_size=1) as pool:
        async with pool.connection() as connection:
            async for _ in connection.cursor().stream(ENDLESS):
                break
        async with pool.connection() as connection:
            assert await value(connection) == 7


async def test_cursors_left_in_mid_result_need_no_cleaning(any_kind: Any_) -> None:
    cursor = await any_kind.execute(ROWS)
    async for _ in cursor:
        break
    assert await cursor.fetchone() == (2,)
    async with any_kind.transaction(), any_kind.cursor("named") as named:
        await named.execute(ROWS)
        async for _ in named:
            break
        assert await named.fetchone() == (101,)
    assert await value(any_kind) == 7
