"""The driver does what psycopg's documentation says, on Trio."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support.postgres_server import Database

Any_ = Connection[Any]

VALUES: list[tuple[Any, str]] = [
    (2**53 + 1, "bigint"),
    (-1.5, "float8"),
    (Decimal("1.10"), "numeric"),
    ("grüße \U0001f600", "text"),
    (b"\0\xff", "bytea"),
    (True, "boolean"),
    (None, "text"),
    (dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC), "timestamptz"),
    (dt.date(2026, 11, 23), "date"),
    (uuid.UUID(int=7), "uuid"),
    (["a", None, "b"], "text[]"),
    ([1, 2**40], "bigint[]"),
]


@pytest.mark.parametrize("binary", [False, True])
async def test_values_come_back_as_they_went(connection: Any_, binary: bool) -> None:
    for value, kind in VALUES:
        cursor = await connection.execute(f"SELECT %s::{kind}".encode(), [value], binary=binary)
        assert await cursor.fetchone() == (value,)


async def test_json_comes_back_as_it_went(connection: Any_) -> None:
    cursor = await connection.execute("SELECT %(v)s::jsonb", {"v": Jsonb({"a": [1, None]})})
    assert await cursor.fetchone() == ({"a": [1, None]},)


async def test_row_factories_and_iteration(connection: Any_) -> None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT n FROM generate_series(1, 3) AS n")
        assert [row async for row in cursor] == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_executemany_returns_all_results(connection: Any_) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany("SELECT %s::int * 2", [[1], [2]], returning=True)
        assert await cursor.fetchone() == (2,)
        assert cursor.nextset()
        assert await cursor.fetchone() == (4,)


async def test_stream_and_server_side_cursor(connection: Any_) -> None:
    async with connection.cursor() as cursor:
        streamed = [row async for row in cursor.stream("SELECT * FROM generate_series(1, 3)")]
    async with connection.transaction(), connection.cursor("named") as named:
        await named.execute("SELECT * FROM generate_series(1, 3)")
        assert await named.fetchall() == streamed == [(1,), (2,), (3,)]


async def test_a_large_result_lets_other_tasks_run(connection: Any_) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 30000)")
        nursery.cancel_scope.cancel()
    assert turns > 3


async def test_tasks_on_one_connection_take_turns(connection: Any_) -> None:
    answers = set()

    async def ask(number: int) -> None:
        answers.add(await (await connection.execute("SELECT %s::int", [number])).fetchone())

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, number)
    assert answers == {(number,) for number in range(20)}


async def test_an_error_of_the_server_has_its_sqlstate_and_leaves_the_connection_usable(connection: Any_) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero) as caught:
        await connection.execute("SELECT 1 / 0")
    assert caught.value.sqlstate == "22012"
    assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_transaction_is_all_or_nothing(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (2)")
            await connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (3)")
            raise ZeroDivisionError
    assert await observer.scalar("SELECT array_agg(n) FROM t") == [1]
    await observer.nothing_left_behind(connection)


async def test_savepoints_undo_only_their_own(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2)")
                await connection.execute("INSERT INTO t VALUES (1)")
        async with connection.transaction():
            await _undone(connection)
            await connection.execute("INSERT INTO t VALUES (4)")
        async with connection.transaction(force_rollback=True):
            await connection.execute("INSERT INTO t VALUES (5)")
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [1, 4]


async def _undone(connection: Any_) -> None:
    async with connection.transaction() as inner:
        await connection.execute("INSERT INTO t VALUES (3)")
        raise psycopg.Rollback(inner)


async def test_a_block_that_swallowed_an_error_never_ends_as_if_committed(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.execute("SELECT 1 / 0")
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(connection)


async def test_a_deferred_constraint_fails_the_commit_and_is_no_mystery(connection: Any_, observer: Observer) -> None:
    await connection.execute("CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1), (1)")
    await observer.nothing_left_behind(connection)


async def test_without_autocommit_the_block_of_the_connection_commits(database: Database, observer: Observer) -> None:
    async with await Connection.connect(database.conninfo()) as first:
        await first.execute("CREATE TABLE t (n int)")
        assert first.pgconn.transaction_status == TransactionStatus.INTRANS
    assert first.closed
    with pytest.raises(ZeroDivisionError):
        async with await Connection.connect(database.conninfo()) as second:
            await second.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError
    third = await Connection.connect(database.conninfo())
    await third.execute("INSERT INTO t VALUES (2)")
    await third.rollback()
    await third.execute("INSERT INTO t VALUES (3)")
    await third.commit()
    await third.close()
    assert await observer.scalar("SELECT array_agg(n) FROM t") == [3]


async def test_prepared_statements_survive_rollbacks(connection: Any_) -> None:
    for _ in range(3):
        for _ in range(8):
            assert await (await connection.execute("SELECT %s::int + 1", [1])).fetchone() == (2,)
        async with connection.transaction(force_rollback=True):
            await connection.execute("SELECT %s::int + 1", [1])


async def test_notifications_arrive_in_order(connection: Any_, observer: Observer) -> None:
    await connection.execute("LISTEN news")
    for number in range(3):
        await observer.connection.execute("SELECT pg_notify('news', %s)", [str(number)])
    heard = [notify.payload async for notify in connection.notifies(timeout=20, stop_after=3)]
    assert heard == ["0", "1", "2"]


async def test_waiting_for_notifications_ends_in_time(connection: Any_) -> None:
    await connection.execute("LISTEN news")
    assert [notify async for notify in connection.notifies(timeout=0.05)] == []
    assert [notify async for notify in connection.notifies(timeout=0)] == []
    assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_another_task_can_cancel_a_statement(connection: Any_, observer: Observer) -> None:
    async def cancel() -> None:
        await observer.until_waiting("PgSleep")
        await connection.cancel_safe(timeout=5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(60)")
    await observer.nothing_left_behind(connection)


async def test_closing_wakes_the_task_that_waits(connection: Any_, observer: Observer) -> None:
    async def close() -> None:
        await observer.until_waiting("PgSleep")
        await connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT pg_sleep(60)")
    assert connection.closed


async def test_nothing_is_begun_by_a_cancelled_task(connection: Any_) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.execute("CREATE TABLE t (n int)")
    assert scope.cancelled_caught
    assert await (await connection.execute("SELECT to_regclass('t')")).fetchone() == (None,)


async def test_connect_is_in_autocommit_mode(database: Database) -> None:
    async with await connect(database.conninfo()) as connection:
        await connection.execute("SELECT 1")
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
