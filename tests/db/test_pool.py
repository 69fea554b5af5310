"""The pool lends what works, takes back what is clean, and comes back by itself."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from psycopg.pq import TransactionStatus

from appliance.db.pool import Pool, PoolTimeout, open_pool
from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer
from tests.support.postgres_server import Database, PostgresServer

pytestmark = pytest.mark.real  # servers of their own, which the fixtures' names do not tell

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with open_pool(database.conninfo(), name="test", min_size=1, max_size=2, timeout=20) as opened:
        yield opened


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    """A server that tests may kill."""
    with PostgresServer() as server:
        yield server


async def pid(connection: Connection[Any]) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row is not None
    found: int = row[0]
    return found


async def test_it_opens_the_minimum_and_grows_to_the_maximum(pool: Pool) -> None:
    assert (pool.statistics().size, pool.statistics().idle) == (1, 1)
    async with pool.connection() as first, pool.connection() as second:
        assert await pid(first) != await pid(second)
        with pytest.raises(PoolTimeout, match="2 of 2 in use"):
            async with pool.connection(timeout=0.05):
                raise AssertionError("a third connection of two")
    statistics = pool.statistics()
    assert (statistics.size, statistics.idle, statistics.in_use, statistics.waiting) == (2, 2, 0, 0)
    assert (statistics.opened, statistics.discarded, statistics.timeouts) == (2, 0, 1)


async def test_last_in_first_out(pool: Pool) -> None:
    async with pool.connection() as first, pool.connection() as second:
        kept = await pid(first)  # the last to come back
        assert await pid(second) != kept
    for _ in range(3):
        async with pool.connection() as again:
            assert await pid(again) == kept


async def test_those_who_wait_are_served_in_their_order(database: Database) -> None:
    served: list[int] = []
    async with open_pool(database.conninfo(), name="test", max_size=1) as pool:

        async def use(number: int) -> None:
            async with pool.connection():
                served.append(number)

        async with trio.open_nursery() as nursery, pool.connection():
            for number in range(5):
                nursery.start_soon(use, number)
                while pool.statistics().waiting <= number:
                    await trio.lowlevel.checkpoint()
    assert served == [0, 1, 2, 3, 4]


async def test_who_gives_up_waiting_leaves_the_queue(pool: Pool) -> None:
    async with pool.connection(), pool.connection():
        with trio.move_on_after(0.05) as scope:
            async with pool.connection():
                raise AssertionError("a third connection of two")
        assert scope.cancelled_caught
        assert pool.statistics().waiting == 0
    async with pool.connection() as connection:
        assert await pid(connection)


async def test_a_connection_given_to_who_was_cancelled_meanwhile_stays_in_the_pool(pool: Pool) -> None:
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            async with pool.connection():
                raise AssertionError("it was cancelled before")

    async with trio.open_nursery() as nursery, pool.connection(), pool.connection():
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()  # both come back before the one that waits has run again
    statistics = pool.statistics()
    assert (statistics.idle, statistics.in_use, statistics.waiting) == (2, 0, 0)


async def test_only_idle_connections_come_back(pool: Pool, observer: Observer) -> None:
    async with pool.connection() as connection:
        await connection.execute("BEGIN")
    assert connection.closed
    assert pool.statistics().discarded == 1
    await observer.until(lambda sessions: all(session.state == "idle" for session in sessions))
    async with pool.connection() as connection:
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        await pid(connection)


async def test_a_cancelled_user_leaves_a_usable_pool(pool: Pool, observer: Observer) -> None:
    for _ in range(10):
        with trio.move_on_after(0.01):
            async with pool.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_sleep(60)")
    await observer.until(lambda sessions: all(session.state == "idle" for session in sessions))
    assert pool.statistics().in_use == 0
    async with pool.connection(timeout=20) as connection:
        await pid(connection)


async def test_what_died_idle_is_never_lent(pool: Pool, observer: Observer) -> None:
    async with pool.connection() as first, pool.connection() as second:
        pids = [await pid(first), await pid(second)]
    for dead in pids:
        await observer.connection.execute("SELECT pg_terminate_backend(%s, 5000)", [dead])
    for _ in range(3):
        async with pool.connection() as connection:
            assert await pid(connection) not in pids
    assert pool.statistics().discarded == 2


async def test_each_new_connection_is_configured(database: Database) -> None:
    async def configure(connection: Connection[Any]) -> None:
        await connection.execute("SET application_name = 'configured'")

    async with (
        open_pool(database.conninfo(), name="test", max_size=2, configure=configure) as pool,
        pool.connection() as first,
        pool.connection() as second,
    ):
        for connection in (first, second):
            row = await (await connection.execute("SHOW application_name")).fetchone()
            assert row == ("configured",)


async def test_a_configuration_that_leaves_a_transaction_open_is_refused(database: Database) -> None:
    async def configure(connection: Connection[Any]) -> None:
        await connection.execute("BEGIN")

    with pytest.raises(PoolTimeout, match="configure left a transaction open"):
        async with open_pool(database.conninfo(), name="test", max_size=1, timeout=0.2, configure=configure):
            raise AssertionError("opened")


async def test_no_server_is_told_with_the_reason(tmp_path: Any) -> None:
    with pytest.raises(PoolTimeout, match=r"No such file|does not exist|is the server running"):
        async with open_pool(f"host={tmp_path} dbname=x user=x", name="test", max_size=1, timeout=0.2):
            raise AssertionError("opened")


async def test_an_error_of_the_block_leaves_as_it_is(database: Database) -> None:
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_pool(database.conninfo(), name="test", max_size=1):
            raise error
    assert caught.value is error
    assert error.__context__ is None


async def test_nothing_is_left_open(database: Database, observer: Observer) -> None:
    async with open_pool(database.conninfo(), name="test", min_size=2, max_size=2) as pool:
        assert pool.statistics().idle == 2
    await observer.until(lambda sessions: not sessions)
    with pytest.raises(PoolTimeout, match="closed"):
        async with pool.connection():
            raise AssertionError("lent by a closed pool")


@pytest.mark.parametrize("size", [(2, 1), (-1, 1), (0, 0)])
async def test_sizes_that_cannot_be(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="min_size"):
        async with open_pool("", name="test", min_size=size[0], max_size=size[1]):
            raise AssertionError("opened")


async def test_a_restart_of_the_server_is_one_error_to_who_was_in_it_and_none_to_others(
    mortal_server: PostgresServer,
) -> None:
    async with open_pool(mortal_server.conninfo(), name="test", min_size=3, max_size=3, timeout=20) as pool:
        with pytest.raises(psycopg.OperationalError):
            async with pool.connection() as connection:
                mortal_server.restart()
                await connection.execute("SELECT 1")
        for _ in range(3):
            async with pool.connection() as first, pool.connection() as second, pool.connection() as third:
                assert len({await pid(first), await pid(second), await pid(third)}) == 3


async def test_who_waits_while_the_server_is_away_is_served_when_it_is_back(mortal_server: PostgresServer) -> None:
    async with open_pool(mortal_server.conninfo(), name="test", max_size=2, timeout=20) as pool:
        mortal_server.kill()
        with pytest.raises(PoolTimeout, match=r"connection .*failed|connection is bad"):
            async with pool.connection(timeout=0.3):
                raise AssertionError("lent without a server")
        async with trio.open_nursery() as nursery:

            async def use() -> None:
                async with pool.connection() as connection:
                    await pid(connection)

            nursery.start_soon(use)
            while not pool.statistics().waiting:
                await trio.lowlevel.checkpoint()
            mortal_server.start()
        assert pool.statistics().failures > 0
        assert pool.statistics().last_failure is None
