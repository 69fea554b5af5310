"""COPY in both directions and both formats."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import struct
from typing import Any

import psycopg
import pytest
import trio
from psycopg.copy import AsyncWriter

from appliance.db.trio_psycopg import Connection, wire
from tests.db.conftest import Observer, cancel_when

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
SLOW_ROWS = b"""
COPY (SELECT repeat('x', 20000), CASE WHEN n > 1 THEN pg_sleep(60) END FROM generate_series(1, 2) AS n) TO STDOUT
"""
"""The first row does not fit into the server's buffer, so it is sent in time; the second one is not."""
TRAILER = b"\xff\xff"


def binary_rows(numbers: range) -> bytes:
    """Rows of (bigint, text) in COPY's binary format."""
    rows = []
    for number in numbers:
        text = str(number).encode()
        rows.append(struct.pack(f"!hiqi{len(text)}s", 2, 8, number, len(text), text))
    return b"".join(rows)


@pytest.fixture
async def connection(connection: Any_) -> Any_:
    """With the table that everything here is copied into."""
    await connection.execute("CREATE TABLE t (n bigint PRIMARY KEY, s text)")
    return connection


async def test_text_blocks(connection: Any_) -> None:
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\tone\n2\t")
            await copy.write("zwölf\n")
        assert cursor.rowcount == 2
        assert await (await cursor.execute("SELECT * FROM t ORDER BY n")).fetchall() == [(1, "one"), (2, "zwölf")]


async def test_binary_blocks_larger_than_every_buffer(connection: Any_, observer: Observer) -> None:
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            await copy.write(SIGNATURE + binary_rows(range(100_000)))
            await copy.write(binary_rows(range(100_000, 200_000)) + TRAILER)
        assert cursor.rowcount == 200_000
    assert await observer.scalar("SELECT sum(n) FROM t WHERE s = n::text") == sum(range(200_000))


async def test_rows_of_python_values(connection: Any_, observer: Observer) -> None:
    for kind in (b"text", b"binary"):
        async with connection.cursor().copy(b"COPY t FROM STDIN (FORMAT " + kind + b")") as copy:
            copy.set_types(["int8", "text"])
            await copy.write_row([len(kind), None])
    assert await observer.scalar("SELECT array_agg(n ORDER BY n) FROM t") == [4, 6]


async def test_an_empty_copy(connection: Any_, observer: Observer) -> None:
    for kind in (b"text", b"binary"):
        async with connection.cursor().copy(b"COPY t FROM STDIN (FORMAT " + kind + b")"):
            pass
    await observer.nothing_left_behind(connection)


async def test_reading_rows_and_blocks(connection: Any_) -> None:
    query = "COPY (SELECT n, n::text FROM generate_series(1, 3) AS n) TO STDOUT"
    async with connection.cursor().copy(query) as copy:
        copy.set_types(["int8", "text"])
        assert [row async for row in copy.rows()] == [(1, "1"), (2, "2"), (3, "3")]
    async with connection.cursor().copy(query) as copy:
        assert b"".join([bytes(block) async for block in copy]) == b"1\t1\n2\t2\n3\t3\n"


async def test_leaving_a_read_early_leaves_nothing(connection: Any_, observer: Observer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connection.cursor().copy("COPY (SELECT generate_series(1, 100000000)) TO STDOUT") as copy:
            await copy.read()
            raise ZeroDivisionError
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_an_error_in_the_block_stores_nothing(connection: Any_, observer: Observer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction(), connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\tone\n")
            raise ZeroDivisionError
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(connection)
    assert not connection.closed


async def test_a_refused_row_is_the_error_of_the_block(connection: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write(b"1\ta\n1\tb\n")
    await observer.nothing_left_behind(connection)


async def test_copy_to_a_writer_of_ones_own(connection: Any_) -> None:
    written = bytearray()

    class Sink(AsyncWriter):
        async def write(self, data: Any) -> None:
            written.extend(data)

    async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN", writer=Sink()) as copy:
        await copy.write_row([1, "one"])
    assert bytes(written) == b"1\tone\n"


async def test_a_long_copy_lets_other_tasks_run(connection: Any_) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            for number in range(30_000):
                await copy.write(b"%d\tx\n" % number)
        nursery.cancel_scope.cancel()
    assert turns > 3


async def test_every_kind_of_cursor_writes_and_reads(any_kind: Any_) -> None:
    cursor = any_kind.cursor()
    rows = [(1, "tab\there"), (2, None), (3, "back\\slash\nline"), (4, "")]
    for kind in (b"text", b"binary"):
        await any_kind.execute("TRUNCATE t")
        async with cursor.copy(b"COPY t FROM STDIN (FORMAT " + kind + b")") as copy:
            copy.set_types(["int8", "text"])
            for row in rows:
                await copy.write_row(row)
        assert cursor.rowcount == 4
        async with cursor.copy(b"COPY (SELECT * FROM t ORDER BY n) TO STDOUT (FORMAT " + kind + b")") as copy:
            copy.set_types(["int8", "text"])
            assert [row async for row in copy.rows()] == rows
        assert cursor.rowcount == 4


async def test_parameters_of_a_copy_are_laid_in_by_the_client(connection: Any_) -> None:
    cursor = connection.cursor()
    async with cursor.copy("COPY (SELECT %s, %s) TO STDOUT", [1, "it's"]) as copy:
        assert await copy.read_row() == ("1", "it's")
        assert await copy.read_row() is None


async def test_what_a_copy_tells_of_itself(any_kind: Any_) -> None:
    cursor = any_kind.cursor()
    async with cursor.copy("COPY (SELECT 1 AS a, 2 AS b) TO STDOUT") as copy:
        assert cursor.description is not None
        assert len(cursor.description) == 2
        assert "[ACTIVE]" in str(copy)
        assert bytes(await copy.read()) == b"1\t2\n"
        assert bytes(await copy.read()) == bytes(await copy.read()) == b""
    assert "[IDLE]" in str(copy)
    with pytest.raises(TypeError, match="only once"):
        async with copy:
            pass


@pytest.mark.parametrize(
    "statement", ["SELECT 1", "INSERT INTO t VALUES (1, 'x')", "nonsense", "COPY nowhere FROM STDIN"]
)
async def test_what_is_no_copy_is_refused(any_kind: Any_, observer: Observer, statement: str) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        async with any_kind.cursor().copy(statement.encode()):
            raise AssertionError("entered")
    await observer.nothing_left_behind(any_kind)


async def test_an_error_of_the_program_is_seen_and_stores_nothing(any_kind: Any_, observer: Observer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write_row([1, "x"])
            raise ZeroDivisionError
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_an_error_of_the_server_is_seen_and_stores_nothing(any_kind: Any_, observer: Observer) -> None:
    for wrong in (b"1\tx\n1\ty\n", b"no number\tx\n", b"1\n"):
        with pytest.raises((psycopg.errors.UniqueViolation, psycopg.DataError)):
            async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
                await copy.write(wrong)
        await observer.nothing_left_behind(any_kind)
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with any_kind.cursor().copy(
            "COPY (SELECT 1 / (10 - n) FROM generate_series(1, 20) AS n) TO STDOUT"
        ) as copy:
            while await copy.read():
                pass
    await observer.nothing_left_behind(any_kind)
    assert await observer.scalar("SELECT count(*) FROM t") == 0


async def test_values_that_cannot_be_written_are_errors_of_the_program(any_kind: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
            await copy.write_row([object(), "x"])
    with pytest.raises(TypeError, match="bytes"):
        async with any_kind.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            await copy.write("text")
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_from_one_connection_to_another(any_kind: Any_, observer: Observer) -> None:
    await any_kind.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) AS n")
    await any_kind.execute("CREATE TABLE u (LIKE t)")
    async with (
        any_kind.cursor().copy("COPY t TO STDOUT (FORMAT binary)") as source,
        observer.connection.cursor().copy("COPY u FROM STDIN (FORMAT binary)") as target,
    ):
        async for block in source:
            await target.write(block)
    assert await observer.scalar("SELECT count(*) FROM u") == 5000


async def test_tasks_that_copy_on_one_connection_take_turns(any_kind: Any_, observer: Observer) -> None:
    async def write(first: int) -> None:
        async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
            for number in range(first, first + 10):
                await copy.write_row([number, "x"])
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for first in range(0, 50, 10):
            nursery.start_soon(write, first)
    assert await observer.scalar("SELECT count(*) FROM t") == 50


async def test_a_cancelled_copy_of_any_kind_leaves_nothing(any_kind: Any_, observer: Observer) -> None:
    async def work() -> None:
        async with any_kind.cursor().copy("COPY (SELECT pg_sleep(60)) TO STDOUT") as copy:
            await copy.read()

    await cancel_when(observer.until_waiting("PgSleep"), work)
    await observer.nothing_left_behind(any_kind)
    reading = trio.Event()

    async def read() -> None:
        async with any_kind.cursor().copy("COPY (SELECT generate_series(1, 100000000)) TO STDOUT") as copy:
            await copy.read()
            reading.set()
            await trio.sleep_forever()

    await cancel_when(reading.wait(), read)
    await observer.nothing_left_behind(any_kind)
    assert not any_kind.closed


async def test_a_read_that_was_cancelled_inside_never_looks_complete(any_kind: Any_, observer: Observer) -> None:
    with pytest.raises(psycopg.Error):
        async with any_kind.cursor().copy(SLOW_ROWS) as copy:
            with trio.move_on_after(0.05) as scope:
                while await copy.read():
                    pass
            assert scope.cancelled_caught
            assert not await copy.read(), "an empty block is the end"
    await observer.nothing_left_behind(any_kind)


async def test_a_write_that_was_cancelled_inside_never_looks_stored(
    any_kind: Any_, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_poll", lambda _descriptor, _wanted: 0)
    with pytest.raises(psycopg.Error):
        async with any_kind.cursor().copy("COPY t FROM STDIN") as copy:
            with trio.CancelScope() as scope:
                started = copy.write(b"1\tx\n" + b"2\t" + b"x" * 2_000_000 + b"\n")
                wait = wire._wait

                async def cancelled(descriptor: int, wanted: int) -> int:
                    scope.cancel()
                    return await wait(descriptor, wanted)

                with monkeypatch.context() as patch:
                    patch.setattr(wire, "_wait", cancelled)
                    await started
            assert scope.cancelled_caught
    assert await observer.scalar("SELECT count(*) FROM t") == 0
    await observer.nothing_left_behind(any_kind)
