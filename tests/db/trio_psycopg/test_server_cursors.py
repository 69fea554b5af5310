"""Cursors on the server: their rows stay there until they are fetched, and they are closed whatever happens."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, scalar_row

from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer, cancel_when
from tests.db.trio_psycopg.conftest import value

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")

OPEN = b"SELECT count(*) FROM pg_cursors WHERE name <> ''"


async def test_rows_are_fetched_in_pages(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("c") as cursor:
        await cursor.execute("SELECT generate_series(1, %s::int)", [10])
        assert await cursor.fetchone() == (1,)
        assert await cursor.fetchmany(2) == [(2,), (3,)]
        cursor.itersize = 2
        assert [row async for row in cursor] == [(n,) for n in range(4, 11)]
        assert cursor.rownumber == 10
        assert await cursor.fetchone() is None
        assert await cursor.fetchall() == []


async def test_description_and_factories(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("c", row_factory=dict_row) as cursor:
        await cursor.execute("SELECT 1 AS n, 'x' AS s")
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == ["n", "s"]
        assert await cursor.fetchall() == [{"n": 1, "s": "x"}]
        assert (cursor.name, cursor.scrollable, cursor.withhold) == ("c", None, False)


async def test_binary_rows(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("c", binary=True) as cursor:
        await cursor.execute("SELECT 1::int4")
        assert await cursor.fetchone() == (1,)
        assert cursor.pgresult is not None
        assert cursor.pgresult.fformat(0) == 1


async def test_any_name_is_a_name(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("größer \"than'") as cursor:
        await cursor.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)


async def test_scrolling_where_it_was_asked_for(connection: Any_) -> None:
    async with connection.transaction():
        async with connection.cursor("c", scrollable=True) as cursor:
            await cursor.execute("SELECT generate_series(0, 9)")
            await cursor.scroll(5)
            assert await cursor.fetchone() == (5,)
            await cursor.scroll(-3)
            assert await cursor.fetchone() == (3,)
            await cursor.scroll(8, mode="absolute")
            assert await cursor.fetchmany(5) == [(8,), (9,)]
            with pytest.raises(ValueError, match="mode"):
                await cursor.scroll(1, mode="sideways")
        with pytest.raises(psycopg.OperationalError):
            async with connection.transaction(), connection.cursor("d", scrollable=False) as forward:
                await forward.execute("SELECT generate_series(0, 9)")
                await forward.fetchmany(3)
                await forward.scroll(-1)


async def test_one_may_be_executed_again(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("c", row_factory=scalar_row) as cursor:
        for last in (3, 5):
            await cursor.execute("SELECT generate_series(1, %s::int)", [last])
            assert await cursor.fetchall() == list(range(1, last + 1))
        assert await value(connection, OPEN) == 1


async def test_it_needs_a_transaction_unless_held(connection: Any_) -> None:
    with pytest.raises(psycopg.errors.NoActiveSqlTransaction):
        async with connection.cursor("c") as cursor:
            await cursor.execute("SELECT 1")
    async with connection.cursor("h", withhold=True) as held:
        async with connection.transaction():
            await held.execute("SELECT generate_series(1, 3)")
        assert await held.fetchall() == [(1,), (2,), (3,)]
    assert await value(connection, OPEN) == 0


async def test_one_that_was_declared_by_hand_can_be_read(connection: Any_) -> None:
    async with connection.transaction():
        await connection.execute("DECLARE byhand CURSOR FOR SELECT generate_series(1, 3)")
        async with connection.cursor("byhand") as cursor:
            assert await cursor.fetchone() == (1,)
        assert await value(connection, OPEN) == 0, "closing it here closes it there"


async def test_closing_is_done_once_and_on_the_server(connection: Any_) -> None:
    async with connection.transaction():
        cursor = connection.cursor("c")
        await cursor.close()
        cursor = connection.cursor("c")
        await cursor.execute("SELECT 1")
        assert await value(connection, OPEN) == 1
        await cursor.close()
        await cursor.close()
        assert await value(connection, OPEN) == 0
        for ask in (cursor.fetchone, cursor.fetchmany, cursor.fetchall):
            with pytest.raises(psycopg.InterfaceError, match="closed"):
                await ask()


async def test_an_error_in_its_block_is_the_error_that_is_seen(connection: Any_) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with connection.transaction(), connection.cursor("c") as cursor:
            await cursor.execute("SELECT 1 / 0")
            await cursor.fetchone()
    with pytest.raises(psycopg.errors.UndefinedColumn):
        async with connection.transaction(), connection.cursor("c") as cursor:
            await cursor.execute("SELECT nonsense")
    assert await value(connection) == 7


async def test_what_it_cannot_do_is_refused(connection: Any_) -> None:
    async with connection.transaction(), connection.cursor("c") as cursor:
        with pytest.raises(psycopg.NotSupportedError):
            await cursor.executemany("SELECT %s", [[1]])
        async with connection.pipeline():
            with pytest.raises(psycopg.NotSupportedError):
                await cursor.execute("SELECT 1")


async def test_one_dropped_while_open_is_complained_of(connection: Any_) -> None:
    async with connection.transaction():
        opened = [connection.cursor("c")]
        await opened[0].execute("SELECT 1")
        with pytest.warns(ResourceWarning, match="deleted while still open"):
            opened.clear()


async def test_cancelled_in_a_fetch(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.cursor("c") as cursor:
            await cursor.execute("SELECT pg_sleep(60)")
            await cursor.fetchone()

    await cancel_when(observer.until_waiting("PgSleep"), work)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_held_one_is_closed_by_a_cancelled_task_too(connection: Any_) -> None:
    """Where no rollback closes it: psycopg's own would stay on the server for as long as the session."""
    with trio.CancelScope() as scope:
        async with connection.cursor("h", withhold=True) as cursor:
            await cursor.execute("SELECT generate_series(1, 10)")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert cursor.closed
    assert await value(connection, OPEN) == 0


async def test_closing_it_waits_for_the_connection_s_turn(connection: Any_, observer: Observer) -> None:
    cursor = connection.cursor("h", withhold=True)
    await cursor.execute("SELECT 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.execute, "SELECT pg_sleep(0.1)")
        await observer.until_waiting("PgSleep")
        await cursor.close()
    assert await value(connection, OPEN) == 0


async def test_one_on_a_lost_connection_can_be_closed(connection: Any_) -> None:
    cursor = connection.cursor("h", withhold=True)
    await cursor.execute("SELECT 1")
    await connection.close()
    await cursor.close()
    assert cursor.closed


async def test_raw_cursors_on_the_server(connection: Any_) -> None:
    connection.server_cursor_factory = psycopg.AsyncRawServerCursor
    async with connection.transaction(), connection.cursor("c") as cursor:
        await cursor.execute("SELECT generate_series(1, $1::int)", [3])
        assert [row async for row in cursor] == [(1,), (2,), (3,)]
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
