"""A connection: how it is opened, set, described and left, as psycopg's documentation has it."""

import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import trio
from psycopg import IsolationLevel
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.string import StrDumper

from appliance.db.trio_psycopg import Connection
from appliance.db.trio_psycopg.cursors import Cursor, ServerCursor
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import value
from tests.support.postgres_server import Database

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")


@pytest.fixture
async def manual(database: Database) -> AsyncIterator[Any_]:
    """A connection that begins transactions by itself: psycopg's default, not ours."""
    opened = await Connection.connect(database.conninfo())
    yield opened
    opened.abandon()


def _status(connection: Any_) -> TransactionStatus:
    return connection.info.transaction_status


async def test_keywords_and_connection_string_are_laid_together(database: Database) -> None:
    async with await Connection.connect(database.conninfo(), application_name="both") as connection:
        assert await value(connection, b"SHOW application_name") == "both"
        assert connection.info.dbname == database.name
        assert connection.info.get_parameters()["application_name"] == "both"


async def test_a_bad_connection_string_is_an_error_of_the_program(database: Database) -> None:
    with pytest.raises(psycopg.ProgrammingError, match="nonsense"):
        await Connection.connect(database.conninfo() + " nonsense=1")


async def test_everything_that_connect_takes_is_applied(database: Database) -> None:
    class Mine(Cursor[Any]):
        pass

    context = AdaptersMap(psycopg.adapters)
    context.register_dumper(str, _Shouting)
    async with await Connection.connect(
        database.conninfo(),
        autocommit=True,
        prepare_threshold=None,
        row_factory=dict_row,
        cursor_factory=Mine,
        context=context,
    ) as connection:
        cursor = await connection.execute("SELECT %s AS word", ["quiet"])
        assert isinstance(cursor, Mine)
        assert await cursor.fetchone() == {"word": "QUIET"}
        assert connection.autocommit
        assert connection.prepare_threshold is None


class _Shouting(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(obj.upper())


async def test_adapters_of_one_connection_are_not_those_of_another(database: Database, connection: Any_) -> None:
    connection.adapters.register_dumper(str, _Shouting)
    assert await (await connection.execute("SELECT %s", ["a"])).fetchone() == ("A",)
    async with await Connection.connect(database.conninfo()) as other:
        assert await (await other.execute("SELECT %s", ["a"])).fetchone() == ("a",)


async def test_cursors_are_of_the_connection_s_classes(connection: Any_) -> None:
    assert type(connection.cursor()) is Cursor
    assert connection.cursor().connection is connection
    async with connection.transaction(), connection.cursor("named") as named:
        assert type(named) is ServerCursor
        await named.execute("SELECT 1")


async def test_execute_takes_binary_and_row_factory(connection: Any_) -> None:
    connection.row_factory = dict_row
    cursor = await connection.execute("SELECT 1::int4 AS n", binary=True)
    assert cursor.pgresult is not None
    assert cursor.pgresult.fformat(0) == 1
    assert await cursor.fetchone() == {"n": 1}


async def test_a_statement_begins_a_transaction_unless_autocommit(manual: Any_, observer: Observer) -> None:
    await manual.execute("CREATE TABLE t (n int)")
    assert _status(manual) == TransactionStatus.INTRANS
    await manual.commit()
    assert _status(manual) == TransactionStatus.IDLE
    await manual.execute("INSERT INTO t VALUES (1)")
    await manual.rollback()
    await manual.set_autocommit(True)
    await manual.execute("INSERT INTO t VALUES (2)")
    assert _status(manual) == TransactionStatus.IDLE
    assert await observer.scalar("SELECT array_agg(n) FROM t") == [2]


async def test_autocommit_is_not_changed_inside_a_transaction(manual: Any_) -> None:
    await manual.execute("SELECT 1")
    with pytest.raises(psycopg.ProgrammingError, match="INTRANS"):
        await manual.set_autocommit(True)
    with pytest.raises(AttributeError, match="set_autocommit"):
        manual.autocommit = True
    await manual.rollback()
    async with manual.transaction():
        with pytest.raises(psycopg.ProgrammingError, match="in progress"):
            await manual.set_autocommit(True)
    assert not manual.autocommit


async def test_isolation_and_modes_hold_for_the_next_transactions(manual: Any_) -> None:
    await manual.set_isolation_level(IsolationLevel.SERIALIZABLE)
    await manual.set_read_only(True)
    await manual.set_deferrable(True)
    for _ in range(2):
        async with manual.transaction():
            assert await value(manual, b"SHOW transaction_isolation") == "serializable"
            assert await value(manual, b"SHOW transaction_read_only") == "on"
            assert await value(manual, b"SHOW transaction_deferrable") == "on"
            with pytest.raises(psycopg.ProgrammingError):
                await manual.set_read_only(False)
    await manual.set_isolation_level(None)
    await manual.set_read_only(None)
    await manual.set_deferrable(None)
    assert await value(manual, b"SHOW transaction_isolation") == "read committed"
    assert await value(manual, b"SHOW transaction_read_only") == "off"


async def test_a_failed_transaction_refuses_statements_until_it_is_rolled_back(manual: Any_) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        await manual.execute("nonsense")
    assert manual.info.transaction_status == TransactionStatus.INERROR
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await manual.execute("SELECT 1")
    await manual.rollback()
    assert await value(manual) == 7


async def test_a_commit_that_a_constraint_refuses_is_its_error(manual: Any_) -> None:
    await manual.execute("CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    await manual.execute("INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await manual.commit()
    assert manual.info.transaction_status == TransactionStatus.IDLE
    assert await value(manual, b"SELECT to_regclass('t')") is None


async def test_notices_reach_their_handlers_until_they_are_removed(connection: Any_) -> None:
    seen: list[str | None] = []

    def broken(_notice: Any) -> None:
        raise ZeroDivisionError

    def note(notice: psycopg.errors.Diagnostic) -> None:
        seen.append(notice.message_primary)

    connection.add_notice_handler(broken)
    connection.add_notice_handler(note)
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    connection.remove_notice_handler(note)
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'again'; END $$")
    assert seen == ["hello"]


async def test_a_server_without_two_phase_transactions_says_so(manual: Any_) -> None:
    await manual.tpc_begin("x")
    with pytest.raises(psycopg.NotSupportedError):
        await manual.tpc_prepare()


async def test_one_phase_of_two_is_an_ordinary_transaction(manual: Any_, observer: Observer) -> None:
    await manual.tpc_begin(manual.xid(1, "gtrid", "bqual"))
    await manual.execute("CREATE TABLE t (n int)")
    with pytest.raises(psycopg.ProgrammingError):
        await manual.commit()
    await manual.tpc_commit()
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_a_connection_tells_its_state_in_its_name(connection: Any_) -> None:
    assert "[IDLE]" in str(connection)
    async with connection.transaction():
        assert "[INTRANS]" in str(connection)
    assert connection.fileno() == connection.pgconn.socket
    await connection.close()
    assert "[BAD]" in str(connection)
    with pytest.raises(psycopg.OperationalError):
        connection.fileno()


async def test_a_closed_connection_is_forgotten(database: Database) -> None:
    connection = await Connection.connect(database.conninfo())
    await connection.execute("SELECT 1")
    gone = weakref.ref(connection)
    await connection.close()
    del connection
    gc.collect()
    assert gone() is None


async def test_a_connection_dropped_while_open_is_complained_of(database: Database) -> None:
    connection = await Connection.connect(database.conninfo())
    opened = [connection]
    del connection
    with pytest.warns(ResourceWarning, match="deleted while still open"):
        opened.clear()


async def test_cancelling_ends_the_statement_of_another_task_and_no_later_one(
    any_kind: Any_, observer: Observer
) -> None:
    for _ in range(5):
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await observer.until_waiting("PgSleep")
                await any_kind.cancel_safe()

            nursery.start_soon(cancel)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await any_kind.execute("SELECT pg_sleep(60)")
        assert await value(any_kind) == 7
    await any_kind.cancel_safe()
    assert await value(any_kind) == 7
