"""COPY in both directions and both formats, and pipelines."""

# ruff: noqa: PT012 - that a whole block ends with the error is what is claimed here

import struct
from typing import Any

import psycopg
import pytest
import trio
from psycopg.copy import AsyncWriter

from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer

Any_ = Connection[Any]

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
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
