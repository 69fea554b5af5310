"""Transaction blocks: what is stored, what is rolled back, and what a block tells of itself."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import trio
from psycopg import Rollback
from psycopg.pq import TransactionStatus

from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import value
from tests.support.postgres_server import Database

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")

STORED = "SELECT coalesce(array_agg(n ORDER BY n), '{}') FROM t"


@pytest.fixture
async def connection(connection: Any_) -> Any_:
    """With a table to write to."""
    await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
    return connection


@pytest.fixture
async def manual(connection: Any_, database: Database) -> AsyncIterator[Any_]:
    """A connection that begins transactions by itself, to the same table."""
    assert not connection.closed
    opened = await Connection.connect(database.conninfo())
    yield opened
    opened.abandon()


async def _insert(connection: Any_, *numbers: int) -> None:
    for number in numbers:
        await connection.execute(f"INSERT INTO t VALUES ({number})".encode())


async def test_a_block_begins_at_its_head_and_ends_at_its_foot(connection: Any_) -> None:
    async with connection.transaction() as transaction:
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        assert transaction.connection is connection
        assert transaction.status == transaction.Status.ACTIVE
        assert "(active)" in str(transaction)
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    assert "(committed)" in str(transaction)


async def test_a_block_is_entered_once(connection: Any_) -> None:
    async with connection.transaction() as transaction:
        pass
    with pytest.raises(TypeError, match="only once"):
        async with transaction:
            pass
    assert await value(connection) == 7


async def test_commit_and_rollback_by_hand_are_refused_inside_a_block(connection: Any_, observer: Observer) -> None:
    async with connection.transaction():
        await _insert(connection, 1)
        for forbidden in (connection.commit, connection.rollback):
            with pytest.raises(psycopg.ProgrammingError):
                await forbidden()
    assert await observer.scalar(STORED) == [1]


async def test_nested_blocks_store_what_was_not_undone(connection: Any_, observer: Observer) -> None:
    async with connection.transaction():
        await _insert(connection, 1)
        async with connection.transaction():
            await _insert(connection, 2)
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():
                    await _insert(connection, 3)
                    raise ZeroDivisionError
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.transaction():
                await _insert(connection, 4, 1)
        await _insert(connection, 5)
    assert await observer.scalar(STORED) == [1, 2, 5]


async def test_an_error_of_the_outer_block_undoes_the_inner(connection: Any_, observer: Observer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            async with connection.transaction():
                await _insert(connection, 1)
            raise ZeroDivisionError
    assert await observer.scalar(STORED) == []


async def test_rollback_ends_the_block_that_it_names(connection: Any_, observer: Observer) -> None:

    def leave(block: psycopg.AsyncTransaction | None = None) -> None:
        raise Rollback(block)

    async with connection.transaction():
        await _insert(connection, 1)
        leave()
    async with connection.transaction() as outer:
        await _insert(connection, 2)
        async with connection.transaction():
            leave(outer)
        await _insert(connection, 9)
    async with connection.transaction():
        async with connection.transaction() as inner:
            await _insert(connection, 3)
            leave(inner)
        await _insert(connection, 4)
    assert inner.status == inner.Status.ROLLED_BACK_EXPLICITLY
    assert await observer.scalar(STORED) == [4]


async def test_savepoints_have_names(connection: Any_) -> None:
    async with connection.transaction("outer") as outer, connection.transaction('the "inner"') as inner:
        assert (outer.savepoint_name, inner.savepoint_name) == ("outer", 'the "inner"')
        async with connection.transaction('the "inner"') as again:
            assert again.savepoint_name == 'the "inner"'
        async with connection.transaction() as unnamed:
            assert unnamed.savepoint_name
    assert await value(connection) == 7


async def test_a_rehearsal_stores_nothing(connection: Any_, observer: Observer) -> None:
    async with connection.transaction(force_rollback=True) as rehearsal:
        await _insert(connection, 1)
    assert rehearsal.status == rehearsal.Status.ROLLED_BACK_EXPLICITLY
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction(force_rollback=True):
            await _insert(connection, 2)
            raise ZeroDivisionError
    assert await observer.scalar(STORED) == []


async def test_blocks_left_in_the_wrong_order_are_an_error(connection: Any_) -> None:
    first, second = connection.transaction(), connection.transaction()
    await first.__aenter__()
    await second.__aenter__()
    with pytest.raises(psycopg.transaction.OutOfOrderTransactionNesting):
        await first.__aexit__(None, None, None)
    with pytest.raises(psycopg.ProgrammingError):
        await second.__aexit__(None, None, None)
    connection.abandon()


async def test_without_autocommit_a_block_inside_what_was_begun_is_a_savepoint(
    manual: Any_, observer: Observer
) -> None:
    async with manual.transaction():
        await _insert(manual, 1)
    assert await observer.scalar(STORED) == [1], "nothing was begun before: the block commits"
    await _insert(manual, 2)
    async with manual.transaction():
        await _insert(manual, 3)
    assert await observer.scalar(STORED) == [1], "the block ended inside of what was begun before"
    with pytest.raises(ZeroDivisionError):
        async with manual.transaction():
            await _insert(manual, 4)
            raise ZeroDivisionError
    await manual.commit()
    assert await observer.scalar(STORED) == [1, 2, 3]


async def test_a_lost_connection_is_told_by_every_block_around(connection: Any_) -> None:
    statuses = []
    with pytest.raises(psycopg.OperationalError, match="nothing is committed"):
        async with connection.transaction() as outer:
            statuses.append(outer)
            async with connection.transaction() as inner:
                statuses.append(inner)
                await connection.close()
    assert [block.status for block in statuses] == [outer.Status.FAILED] * 2


async def test_a_cancelled_statement_caught_inside_fails_the_block(connection: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        async with connection.transaction():
            await _insert(connection, 1)
            with trio.move_on_after(0.05):
                await connection.execute("SELECT pg_sleep(60)")
    assert await observer.scalar(STORED) == []
    await observer.nothing_left_behind(connection)
