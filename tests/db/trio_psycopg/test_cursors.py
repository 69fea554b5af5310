"""The three kinds of cursor that read a whole result: statements, rows, results and what is told of them."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import datetime as dt
import gc
import weakref
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, namedtuple_row, scalar_row

from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import closing, marked, value

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")


def _is_client(connection: Any_) -> bool:
    return issubclass(connection.cursor_factory, psycopg.AsyncClientCursor)


async def test_parameters_arrive_as_they_are(any_kind: Any_) -> None:
    values = [1, "a'b\\c%", None, dt.date(2026, 11, 23), b"\0\xff", [1, 2]]
    query = marked(any_kind, "SELECT %s::int, %s::text, %s::text, %s::date, %s::bytea, %s::int[]")
    assert await (await any_kind.execute(query, values)).fetchone() == tuple(values)


async def test_parameters_by_name(connection: Any_) -> None:
    for factory in (connection.cursor_factory, psycopg.AsyncClientCursor):
        cursor = factory(connection)
        await cursor.execute("SELECT %(a)s::int + %(b)s::int + %(a)s::int", {"a": 1, "b": 10})
        assert await cursor.fetchone() == (12,)


async def test_raw_cursors_take_a_sequence_alone(connection: Any_) -> None:
    with pytest.raises(TypeError, match="sequence"):
        await psycopg.AsyncRawCursor(connection).execute("SELECT 1", {"a": 1})


async def test_client_cursors_show_what_they_would_send(connection: Any_) -> None:
    cursor = psycopg.AsyncClientCursor(connection)
    assert cursor.mogrify("SELECT %s, %s", ["it's", 1]) == "SELECT 'it''s', 1"


async def test_a_wrong_number_of_parameters_is_an_error_before_anything_is_sent(any_kind: Any_) -> None:
    with pytest.raises(psycopg.Error):
        await any_kind.execute(marked(any_kind, "SELECT %s::int, %s::int"), [1])
    assert any_kind.pgconn.transaction_status == TransactionStatus.IDLE


async def test_composed_statements(any_kind: Any_) -> None:
    query = sql.SQL("SELECT {} AS {}").format(sql.Literal("x"), sql.Identifier("the name"))
    cursor = await any_kind.execute(query)
    assert cursor.description is not None
    assert cursor.description[0].name == "the name"
    assert await cursor.fetchall() == [("x",)]


async def test_several_statements_at_once_have_a_result_each(any_kind: Any_) -> None:
    cursor = await any_kind.execute("SELECT 1; SELECT generate_series(2, 3); CREATE TEMP TABLE t ()")
    assert await cursor.fetchall() == [(1,)]
    assert cursor.nextset()
    assert cursor.rowcount == 2
    assert await cursor.fetchall() == [(2,), (3,)]
    assert cursor.nextset()
    assert cursor.statusmessage == "CREATE TABLE"
    assert not cursor.nextset()
    await cursor.set_result(-2)
    assert await cursor.fetchone() == (2,)
    with pytest.raises(IndexError):
        await cursor.set_result(3)


async def test_an_empty_statement_has_no_rows(any_kind: Any_) -> None:
    cursor = await any_kind.execute("")
    assert cursor.description is None
    with pytest.raises(psycopg.ProgrammingError):
        await cursor.fetchone()


async def test_rows_are_fetched_one_by_one_by_number_and_all(any_kind: Any_) -> None:
    cursor = await any_kind.execute("SELECT generate_series(1, 10)")
    assert cursor.rownumber == 0
    assert await cursor.fetchone() == (1,)
    assert await cursor.fetchmany() == [(2,)]
    assert await cursor.fetchmany(3) == [(3,), (4,), (5,)]
    assert cursor.rownumber == 5
    assert [row async for row in cursor] == [(n,) for n in range(6, 11)]
    assert await cursor.fetchone() is None
    assert await cursor.fetchall() == []


async def test_a_cursor_scrolls_within_its_result(any_kind: Any_) -> None:
    cursor = await any_kind.execute("SELECT generate_series(1, 10)")
    await cursor.scroll(5)
    assert await cursor.fetchone() == (6,)
    await cursor.scroll(-3)
    assert await cursor.fetchone() == (4,)
    await cursor.scroll(0, mode="absolute")
    assert await cursor.fetchone() == (1,)
    for wrong in (-2, 20):
        with pytest.raises(IndexError):
            await cursor.scroll(wrong)
    with pytest.raises(ValueError, match="mode"):
        await cursor.scroll(1, mode="sideways")
    assert await cursor.fetchone() == (2,)


async def test_row_factories_may_change_between_fetches(any_kind: Any_) -> None:
    cursor: Any = any_kind.cursor(row_factory=dict_row)
    await cursor.execute("SELECT n FROM generate_series(1, 3) AS n")
    assert await cursor.fetchone() == {"n": 1}
    cursor.row_factory = namedtuple_row
    assert (await cursor.fetchone()).n == 2
    cursor.row_factory = scalar_row
    assert await cursor.fetchone() == 3


async def test_a_row_factory_that_fails_leaves_the_connection_usable(any_kind: Any_) -> None:
    def broken(_cursor: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await any_kind.cursor(row_factory=broken).execute("SELECT 1")
    with pytest.raises(ZeroDivisionError):
        async with closing(any_kind.cursor(row_factory=broken).stream("SELECT generate_series(1, 1000)")) as rows:
            await anext(rows)
    assert await value(any_kind) == 7


async def test_counts_and_statuses_of_statements(any_kind: Any_) -> None:
    cursor = any_kind.cursor()
    assert (cursor.rowcount, cursor.statusmessage) == (-1, None)
    for statement, rows, message in (
        ("CREATE TEMP TABLE t (n int)", -1, "CREATE TABLE"),
        ("INSERT INTO t SELECT generate_series(1, 5)", 5, "INSERT 0 5"),
        ("UPDATE t SET n = n WHERE n > 3", 2, "UPDATE 2"),
        ("SELECT * FROM t", 5, "SELECT 5"),
        ("DELETE FROM t", 5, "DELETE 5"),
    ):
        await cursor.execute(statement.encode())
        assert (cursor.rowcount, cursor.statusmessage) == (rows, message)


async def test_executemany_counts_and_returns(any_kind: Any_) -> None:
    await any_kind.execute("CREATE TEMP TABLE t (n int)")
    insert = marked(any_kind, "INSERT INTO t VALUES (%s::int) RETURNING n * 2")
    cursor = any_kind.cursor()
    await cursor.executemany(insert, [[n] for n in range(1000)])
    assert cursor.rowcount == 1000
    with pytest.raises(psycopg.ProgrammingError):
        await cursor.fetchone()
    await cursor.executemany(insert, [[1], [2]], returning=True)
    assert [await result.fetchone() async for result in cursor.results()] == [(2,), (4,)]
    await cursor.executemany(insert, [], returning=True)
    assert cursor.rowcount <= 0
    assert await value(any_kind, b"SELECT count(*) FROM t") == 1002


async def test_executemany_stores_all_or_nothing(any_kind: Any_, observer: Observer) -> None:
    await any_kind.execute("CREATE TABLE t (n int PRIMARY KEY)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await any_kind.cursor().executemany(marked(any_kind, "INSERT INTO t VALUES (%s::int)"), [[1], [2], [1], [3]])
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(any_kind)

    def numbers() -> Any:
        yield [1]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await any_kind.cursor().executemany(marked(any_kind, "INSERT INTO t VALUES (%s::int)"), numbers())
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_binary_results(any_kind: Any_) -> None:
    if _is_client(any_kind):
        with pytest.raises(psycopg.NotSupportedError):
            await any_kind.execute("SELECT 1", binary=True)
        assert await value(any_kind) == 7
        return
    cursor = any_kind.cursor(binary=True)
    await cursor.execute("SELECT 1::int4, now()")
    assert cursor.pgresult is not None
    assert cursor.pgresult.fformat(0) == 1
    await cursor.execute("SELECT 1::int4", binary=False)
    assert cursor.pgresult.fformat(0) == 0
    async with closing(cursor.stream("SELECT generate_series(1, 3)::int4")) as rows:
        assert [row async for row in rows] == [(1,), (2,), (3,)]
        assert cursor.pgresult.fformat(0) == 1


async def test_streams_by_row_and_by_chunk(any_kind: Any_) -> None:
    for size in (1, 3, 100):
        cursor = any_kind.cursor(row_factory=scalar_row)
        query = marked(any_kind, "SELECT generate_series(1, %s::int)")
        async with closing(cursor.stream(query, [10], size=size)) as rows:
            assert [row async for row in rows] == list(range(1, 11))
    async with closing(any_kind.cursor().stream("SELECT 1 WHERE false")) as rows:
        assert [row async for row in rows] == []


async def test_the_error_of_a_stream_is_raised_where_it_happened(any_kind: Any_) -> None:
    seen = []
    with pytest.raises(psycopg.errors.DivisionByZero):
        async for row in any_kind.cursor().stream("SELECT 1 / (100 - n) FROM generate_series(1, 1000) AS n"):
            seen.append(row)  # noqa: PERF401 - what came before the error counts
    assert len(seen) == 99
    with pytest.raises(psycopg.ProgrammingError, match="didn't produce"):
        await anext(any_kind.cursor().stream("CREATE TEMP TABLE t ()"))
    assert await value(any_kind) == 7


async def test_a_closed_cursor_answers_nothing(any_kind: Any_) -> None:
    async with any_kind.cursor() as cursor:
        await cursor.execute("SELECT 1")
    assert cursor.closed
    await cursor.close()
    for ask in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, lambda: cursor.execute("SELECT 1")):
        with pytest.raises(psycopg.InterfaceError, match="closed"):
            await ask()
    assert await value(any_kind) == 7


async def test_a_cursor_is_forgotten_with_its_result(any_kind: Any_) -> None:
    cursor = await any_kind.execute("SELECT repeat('x', 1000)")
    gone = weakref.ref(cursor)
    await cursor.close()
    del cursor
    gc.collect()
    assert gone() is None


async def test_types_of_parameters_may_change_from_call_to_call(any_kind: Any_) -> None:
    await any_kind.execute("CREATE TEMP TABLE t (n bigint)")
    insert = marked(any_kind, "INSERT INTO t VALUES (%s)")
    for number in (1, 2**15, 2**40, None):
        await any_kind.execute(insert, [number])
    await any_kind.cursor().executemany(insert, [[1], [2**40], [None]])
    assert await value(any_kind, b"SELECT sum(n) FROM t") == 2 + 2**15 + 2 * 2**40


async def test_statements_are_prepared_after_some_calls_and_let_go_of(connection: Any_) -> None:
    prepared = b"SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%marker%%' AND NOT from_sql"
    for _ in range(7):
        await connection.execute("SELECT %s::int -- marker", [1])
    assert await value(connection, prepared.replace(b"%%", b"%")) == 1
    connection.prepared_max = 0
    await connection.execute("SELECT 1")
    await connection.execute("SELECT %s::text -- another", ["x"], prepare=True)
    await connection.execute("SELECT 1")
    assert await value(connection, b"SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql") <= 1


async def test_a_statement_that_could_not_be_prepared_stands_in_no_other_s_way(connection: Any_) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        await connection.execute("nonsense %s", [1], prepare=True)
    for _ in range(2):
        cursor = await connection.execute("SELECT %s::int", [1], prepare=True)
        assert await cursor.fetchone() == (1,)
