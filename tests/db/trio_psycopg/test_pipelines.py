"""Pipelines: statements that are sent without waiting, each with its own answer, and no loss without an error."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import PipelineStatus

from appliance.db.trio_psycopg import CommitOutcomeUnknown, Connection
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import marked, value

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")


@pytest.fixture
async def connection(connection: Any_) -> Any_:
    """With a table to write to."""
    await connection.execute("CREATE TABLE t (n bigint PRIMARY KEY, s text)")
    return connection


async def test_a_pipeline_answers_every_statement(connection: Any_) -> None:
    async with connection.pipeline():
        cursors = [await connection.execute("INSERT INTO t VALUES (%s, 'x') RETURNING n", [n]) for n in range(50)]
    assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(50)]


async def test_a_pipeline_inside_a_transaction(connection: Any_, observer: Observer) -> None:
    async with connection.transaction():
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\tone\n")
        async with connection.pipeline():
            await connection.execute("INSERT INTO t VALUES (2, 'two')")
            cursor = await connection.execute("SELECT count(*) FROM t")
            assert await cursor.fetchone() == (2,)
    assert await observer.scalar("SELECT count(*) FROM t") == 2


async def test_an_error_in_a_pipeline_rolls_the_transaction_back(connection: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with connection.transaction(), connection.pipeline():
            for number in (1, 2, 1, 3):
                await connection.execute("INSERT INTO t VALUES (%s, 'x')", [number])
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_transactions_inside_a_pipeline(connection: Any_, observer: Observer) -> None:
    async with connection.pipeline():
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1, 'x')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2, 'x')")
                await connection.execute("INSERT INTO t VALUES (1, 'x')")
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (3, 'x')")
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO t VALUES (4, 'x')")
                    raise ZeroDivisionError
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [1, 3]
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_pipeline_too_large_for_the_buffers(connection: Any_, observer: Observer) -> None:
    async with connection.pipeline():
        for number in range(200):
            await connection.execute("INSERT INTO t VALUES (%s, %s)", [number, "x" * 50_000])
            await connection.execute("SELECT repeat('y', 50000)")
    assert await observer.scalar("SELECT count(*) FROM t") == 200


async def test_copy_in_a_pipeline_is_refused_and_harmless(connection: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.NotSupportedError):
        async with connection.pipeline(), connection.cursor().copy("COPY t FROM STDIN"):
            pass
    await observer.nothing_left_behind(connection)


async def test_every_kind_of_cursor_may_be_sent_through_a_pipeline(any_kind: Any_) -> None:
    query = marked(any_kind, "SELECT %s::int")
    async with any_kind.pipeline() as pipeline:
        cursors = [await any_kind.execute(query, [number]) for number in range(5)]
        assert await cursors[0].fetchone() == (0,)
        await pipeline.sync()
        await any_kind.cursor().executemany(query, [[1], [2]])
    assert [await cursor.fetchone() for cursor in cursors] == [None, (1,), (2,), (3,), (4,)]
    assert pipeline.status == PipelineStatus.OFF


async def test_after_an_error_the_rest_is_not_done_until_a_sync(any_kind: Any_, observer: Observer) -> None:
    async with any_kind.pipeline() as pipeline:
        await any_kind.execute("INSERT INTO t VALUES (1)")
        await pipeline.sync()
        with pytest.raises(psycopg.errors.DivisionByZero):
            await (await any_kind.execute("SELECT 1 / 0")).fetchone()
        with pytest.raises(psycopg.errors.PipelineAborted):
            await (await any_kind.execute("INSERT INTO t VALUES (2) RETURNING n")).fetchone()
        await pipeline.sync()
        await any_kind.execute("INSERT INTO t VALUES (3)")
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [1, 3]
    await observer.nothing_left_behind(any_kind)


async def test_the_first_error_is_raised_at_the_end_and_the_program_s_before_it(
    any_kind: Any_, observer: Observer
) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with any_kind.pipeline():
            await any_kind.execute("SELECT * FROM nowhere")
            await any_kind.execute("SELECT 1 / 0")
    with pytest.raises(ZeroDivisionError):
        async with any_kind.pipeline():
            await any_kind.execute("SELECT * FROM nowhere")
            raise ZeroDivisionError
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_pipelines_in_pipelines(any_kind: Any_) -> None:
    async with any_kind.pipeline() as outer, any_kind.pipeline() as inner:
        assert inner is outer
        cursor = await any_kind.execute("SELECT 1")
    assert await cursor.fetchone() == (1,)
    assert outer.status == PipelineStatus.OFF


@pytest.mark.parametrize("copy", ["COPY t FROM STDIN", "COPY t TO STDOUT"])
async def test_a_copy_smuggled_into_a_pipeline_leaves_it_usable_or_closed(any_kind: Any_, copy: str) -> None:
    with pytest.raises(psycopg.Error):
        async with any_kind.pipeline():
            await any_kind.execute(copy.encode())
            await any_kind.execute("SELECT 1")
    if not any_kind.closed:
        assert await value(any_kind) == 7
    assert not any_kind.lock.locked()


async def test_a_stream_in_a_pipeline_is_refused(any_kind: Any_) -> None:
    async with any_kind.pipeline():
        with pytest.raises(psycopg.ProgrammingError):
            await anext(any_kind.cursor().stream("SELECT 1"))
    assert await value(any_kind) == 7


async def test_a_statement_cancelled_and_caught_inside_is_told_at_the_end(any_kind: Any_, observer: Observer) -> None:
    """What was sent with it is one implicit transaction, which the cancelled statement rolls back."""
    with pytest.raises(psycopg.errors.PipelineAborted):
        async with any_kind.pipeline():
            await any_kind.execute("INSERT INTO t VALUES (1)")
            with trio.move_on_after(0.05) as scope:
                await (await any_kind.execute("SELECT pg_sleep(60)")).fetchone()
    assert scope.cancelled_caught
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    async with any_kind.pipeline():
        await any_kind.execute("INSERT INTO t VALUES (2)")
    assert await observer.scalar("SELECT count(*) FROM t") == 1


async def test_a_transaction_of_a_pipeline_that_was_cancelled_concerns_no_other(
    connection: Any_, observer: Observer
) -> None:
    async with connection.pipeline():
        await connection.execute("INSERT INTO t VALUES (1)")
        with trio.move_on_after(0.05) as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2)")
                await (await connection.execute("SELECT pg_sleep(60)")).fetchone()
        await connection.execute("INSERT INTO t VALUES (3)")
    assert scope.cancelled_caught
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [1, 3]


async def test_a_commit_in_a_pipeline_that_is_cancelled_under_way_is_finished_and_known(
    connection: Any_, observer: Observer
) -> None:
    """The wait for it is one for reading or writing, whose nursery must not make a group of the cancellation."""
    await connection.execute("""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION dawdle()
    """)
    ended = False
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            nonlocal ended
            async with connection.pipeline():
                async with connection.transaction():
                    await connection.execute("INSERT INTO t VALUES (1)")
                ended = True

        nursery.start_soon(work)
        await observer.until(lambda sessions: any(session.wait_event == "PgSleep" for session in sessions))
        nursery.cancel_scope.cancel()
    assert ended
    assert await observer.scalar("SELECT count(*) FROM t") == 1
    await observer.nothing_left_behind(connection)


@pytest.mark.parametrize("explicit", [False, True])
async def test_a_pipeline_that_commits_and_is_cancelled_at_its_end_is_finished_and_known(
    connection: Any_, observer: Observer, explicit: bool
) -> None:
    ended = False
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            nonlocal ended
            async with connection.pipeline(commits=True):
                if explicit:
                    await connection.execute("BEGIN")
                await connection.execute("INSERT INTO t VALUES (1)")
                await connection.execute("SELECT pg_sleep(0.3)")
                if explicit:
                    await connection.execute("COMMIT")
            ended = True

        nursery.start_soon(work)
        await observer.until(lambda sessions: any(session.wait_event == "PgSleep" for session in sessions))
        nursery.cancel_scope.cancel()
    assert ended
    assert await observer.scalar("SELECT count(*) FROM t") == 1
    await observer.nothing_left_behind(connection)


async def test_the_end_of_a_pipeline_that_commits_is_unknown_when_the_connection_is_lost(
    connection: Any_, observer: Observer
) -> None:
    with pytest.raises(CommitOutcomeUnknown):
        async with connection.pipeline(commits=True):
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_a_pipeline_that_commits_stores_nothing_after_an_error(connection: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with connection.pipeline(commits=True):
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("INSERT INTO t VALUES (1)")
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(connection)


@pytest.mark.parametrize("explicit", [False, True])
async def test_a_pipeline_that_commits_stores_nothing_when_its_task_is_cancelled_before_its_end(
    connection: Any_, observer: Observer, explicit: bool
) -> None:
    with trio.CancelScope() as scope:
        async with connection.pipeline(commits=True):
            if explicit:
                await connection.execute("BEGIN")
            await (await connection.execute("INSERT INTO t VALUES (1) RETURNING n")).fetchone()
            scope.cancel()
            await connection.execute("INSERT INTO t VALUES (2)")
    assert scope.cancelled_caught
    await observer.nothing_left_behind(connection)
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_a_pipeline_that_commits_stores_nothing_when_its_block_fails_by_itself(
    connection: Any_, observer: Observer
) -> None:
    with pytest.raises(ValueError, match="of the block"):
        async with connection.pipeline(commits=True):
            await connection.execute("INSERT INTO t VALUES (1)")
            raise ValueError("of the block")
    await observer.nothing_left_behind(connection)
    assert await observer.scalar("SELECT count(*) FROM t") == 0
