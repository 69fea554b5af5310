"""Whatever is cancelled, and wherever: the connection ends up IDLE or closed, and the server is left with nothing."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus

from appliance.db.trio_psycopg import CommitOutcomeUnknown, Connection, connect, wire
from tests.db.conftest import Observer, cancel_when
from tests.support.busy import within
from tests.support.postgres_server import Database, PostgresServer

pytestmark = pytest.mark.real  # servers of their own, which the fixtures' names do not tell

Any_ = Connection[Any]

PROMPT_SECONDS = 1.0
"""Far below the grace: the server was asked to cancel, nobody waited for a time to run out."""

# COMMIT takes as long as the row says: a deferred trigger sleeps.
SLOW_COMMIT = """
CREATE TABLE slow (seconds float8);
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(NEW.seconds); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


@pytest.fixture
async def connection(connection: Any_) -> Any_:
    """With a table to write to."""
    await connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)")
    return connection


@pytest.fixture
async def blocker(database: Database) -> AsyncIterator[Any_]:
    """A session that holds locks."""
    opened = await connect(database.conninfo())
    yield opened
    opened.abandon()


async def test_in_a_query(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        await connection.execute("SELECT pg_sleep(60)")

    assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_in_a_transaction(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            async with connection.transaction():
                await connection.execute("SELECT pg_sleep(60)")

    assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_between_two_statements_of_a_transaction(connection: Any_, observer: Observer) -> None:
    waiting = trio.Event()

    async def work() -> None:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            waiting.set()
            await trio.sleep_forever()

    assert await cancel_when(waiting.wait(), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_in_copy_waiting_for_the_table(connection: Any_, blocker: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\n")

    async with blocker.transaction(force_rollback=True):
        await blocker.execute("LOCK t")
        assert await cancel_when(observer.until_waiting("relation"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_at_the_end_of_copy_waiting_for_a_row(connection: Any_, blocker: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\n")

    async with blocker.transaction(force_rollback=True):
        await blocker.execute("INSERT INTO t VALUES (1)")
        assert await cancel_when(observer.until_waiting("transactionid"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_in_a_copy_that_the_server_does_not_read(connection: Any_, blocker: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"".join(b"%d\n" % n for n in range(1_000_000)))

    async with blocker.transaction(force_rollback=True):
        await blocker.execute("INSERT INTO t VALUES (1)")
        assert await cancel_when(observer.until_waiting("transactionid"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_between_two_copy_writes(connection: Any_, observer: Observer) -> None:
    waiting = trio.Event()

    async def work() -> None:
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\n")
            waiting.set()
            await trio.sleep_forever()

    assert await cancel_when(waiting.wait(), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_between_two_writes_of_a_copy_in_no_transaction(connection: Any_, observer: Observer) -> None:
    waiting = trio.Event()

    async def work() -> None:
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\n")
            waiting.set()
            await trio.sleep_forever()

    assert await cancel_when(waiting.wait(), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_at_a_copy_write(connection: Any_, observer: Observer) -> None:
    with trio.CancelScope() as scope:
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            scope.cancel()
            await copy.write(b"1\n")
    assert scope.cancelled_caught
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_reading_a_copy(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.cursor().copy("COPY (SELECT pg_sleep(60)) TO STDOUT") as copy:
            await copy.read()

    assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_in_a_pipeline(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.pipeline():
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("SELECT pg_sleep(60)")
            cursor = await connection.execute("SELECT 1")
            await cursor.fetchone()

    assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_at_the_end_of_a_pipeline(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.transaction(), connection.pipeline():
            await connection.execute("SELECT pg_sleep(60)")

    assert await cancel_when(observer.until_waiting("PgSleep"), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_in_the_block_of_a_pipeline(connection: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with connection.pipeline():
            await connection.execute("SELECT pg_sleep(60)")
            await trio.sleep_forever()

    async def sent() -> None:
        await observer.until(lambda sessions: any(session.wait_event == "PgSleep" for session in sessions))

    assert await cancel_when(sent(), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_waiting_for_notifications(connection: Any_, observer: Observer) -> None:
    listening = trio.Event()
    await connection.execute("LISTEN news")

    async def work() -> None:
        listening.set()
        async for _ in connection.notifies():
            pass

    assert await cancel_when(listening.wait(), work) < within(PROMPT_SECONDS)
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_commit_under_way_is_finished_and_known(connection: Any_, observer: Observer) -> None:
    await connection.execute(SLOW_COMMIT)
    done = cancelled = False
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                nonlocal done, cancelled
                async with connection.transaction():
                    await connection.execute("INSERT INTO slow VALUES (0.3)")
                done = True
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled:
                    cancelled = True
                    raise

            nursery.start_soon(work)
            await observer.until_waiting("PgSleep")
            scope.cancel()
    assert (done, cancelled) == (True, True)
    assert await observer.scalar("SELECT count(*) FROM slow") == 1
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_commit_without_answer_closes_the_connection_and_says_so(
    connection: Any_, observer: Observer, short_grace: float
) -> None:
    await connection.execute(SLOW_COMMIT)
    raised: list[Exception] = []

    async def work() -> None:
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO slow VALUES (1.5)")
        except CommitOutcomeUnknown as error:
            raised.append(error)

    assert short_grace <= await cancel_when(observer.until_waiting("PgSleep"), work) < short_grace + PROMPT_SECONDS
    assert len(raised) == 1
    assert connection.closed
    await observer.until(lambda sessions: not sessions)
    assert await observer.scalar("SELECT count(*) FROM slow") == 1, "this one was done after all: unknown is the word"


async def test_a_commit_begun_by_a_cancelled_task_is_finished(connection: Any_, observer: Observer) -> None:
    with trio.CancelScope() as scope:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            scope.cancel()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await observer.scalar("SELECT count(*) FROM t") == 1
    await observer.nothing_left_behind(connection)


async def test_entering_a_transaction(connection: Any_, observer: Observer) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with connection.transaction():
            raise AssertionError("a cancelled task entered")
    await observer.nothing_left_behind(connection)
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")


async def test_rollback_by_a_cancelled_task(database: Database, observer: Observer) -> None:
    connection = await Connection.connect(database.conninfo())
    await connection.execute("CREATE TABLE never (n int)")
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.rollback()
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    await observer.nothing_left_behind(connection)
    connection.abandon()


async def test_a_server_that_answers_nothing_costs_the_connection_not_the_time(short_grace: float) -> None:
    with PostgresServer() as server:
        connection = await connect(server.conninfo())
        started = trio.Event()

        async def work() -> None:
            async with connection.transaction():
                server.pause()
                started.set()
                await connection.execute("SELECT 1")

        try:
            seconds = await cancel_when(started.wait(), work)
        finally:
            server.resume()
        assert connection.closed
        assert seconds < within(3 * short_grace + PROMPT_SECONDS)


@pytest.mark.usefixtures("short_grace")
async def test_another_task_that_keeps_the_connection_costs_it(connection: Any_, observer: Observer) -> None:
    async with trio.open_nursery() as nursery:

        async def intruder() -> None:
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT pg_sleep(60)")

        with trio.CancelScope() as scope, pytest.raises(psycopg.OperationalError, match="another task"):
            async with connection.transaction():
                nursery.start_soon(intruder)
                await observer.until_waiting("PgSleep")
                scope.cancel()
    assert connection.closed


async def _transaction(connection: Any_, number: int) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (%s)", [number])
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"%d\n" % (number + 1))
            await copy.write(b"%d\n" % (number + 2))
        async with connection.transaction(), connection.pipeline():
            for offset in range(3, 6):
                await connection.execute("INSERT INTO t VALUES (%s)", [number + offset])


async def _pipeline(connection: Any_, number: int) -> None:
    async with connection.pipeline(), connection.transaction():
        for offset in range(6):
            cursor = await connection.execute("INSERT INTO t VALUES (%s) RETURNING n", [number + offset])
            await cursor.fetchone()


WORK: list[Callable[[Any_, int], Awaitable[None]]] = [_transaction, _pipeline]


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("before", [True, False])
async def test_at_every_single_wait(
    connection: Any_,
    database: Database,
    observer: Observer,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Any_, int], Awaitable[None]],
    before: bool,
) -> None:
    """Cancelled right before or right after the first wait for the socket, the second, ...: six rows or none."""
    scope = trio.CancelScope()
    countdown = 0
    wait = wire._wait

    async def counted_wait(descriptor: int, wanted: int) -> int:
        nonlocal countdown
        countdown -= 1
        if countdown == 0 and before:
            scope.cancel()
        ready = await wait(descriptor, wanted)
        if countdown == 0 and not before:
            scope.cancel()
        return ready

    monkeypatch.setattr(wire, "_wait", counted_wait)
    monkeypatch.setattr(wire, "_poll", lambda _descriptor, _wanted: 0)
    number = waits = known = 0
    while countdown <= 0:
        waits += 1
        number += 6
        countdown = waits
        scope = trio.CancelScope()
        done = False
        with scope:
            await work(connection, number)
            done = True
        countdown_left, countdown = countdown, 0
        if connection.closed:
            connection = await connect(database.conninfo())
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        rows = await observer.scalar(f"SELECT count(*) FROM t WHERE n / 6 = {number // 6}")
        assert rows == 6 if done else rows in (0, 6)
        known += done
        countdown = countdown_left
    await observer.nothing_left_behind(connection)
    connection.abandon()
    assert waits > 6
    assert known >= 1
