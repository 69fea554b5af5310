"""Cancelled or closed at every single wait: the connection is IDLE or closed, and no result ends before its end."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus

from appliance.db.trio_psycopg import Connection, connect, wire
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import closing, marked
from tests.support.postgres_server import Database

Any_ = Connection[Any]
Work = Callable[[Any_], Awaitable[Any]]

pytestmark = pytest.mark.usefixtures("never_stuck")

ROWS = 40
NUMBERS = [(n,) for n in range(1, ROWS + 1)]


async def _execute(connection: Any_) -> Any:
    cursor = await connection.execute(marked(connection, "SELECT generate_series(1, %s::int)"), [ROWS])
    return await cursor.fetchall()


async def _prepared(connection: Any_) -> Any:
    cursor = await connection.execute(marked(connection, "SELECT generate_series(1, %s::int)"), [ROWS], prepare=True)
    return await cursor.fetchall()


async def _executemany(connection: Any_) -> Any:
    async with connection.cursor() as cursor:
        query = marked(connection, "SELECT generate_series(%s::int, %s::int)")
        await cursor.executemany(query, [[1, 20], [21, ROWS]], returning=True)
        return [row async for result in cursor.results() for row in await result.fetchall()]


async def _stream(connection: Any_) -> Any:
    async with closing(connection.cursor().stream(f"SELECT generate_series(1, {ROWS})".encode())) as rows:
        return [row async for row in rows]


async def _read_copy(connection: Any_) -> Any:
    async with connection.cursor().copy(f"COPY (SELECT generate_series(1, {ROWS})) TO STDOUT".encode()) as copy:
        copy.set_types(["int4"])
        return [row async for row in copy.rows()]


async def _write_copy(connection: Any_) -> Any:
    async with connection.transaction(force_rollback=True):
        await connection.execute("CREATE TABLE w (n int)")
        async with connection.cursor().copy("COPY w FROM STDIN") as copy:
            for row in NUMBERS:
                await copy.write_row(row)
        return await (await connection.execute("SELECT n FROM w ORDER BY n")).fetchall()


async def _server_cursor(connection: Any_) -> Any:
    async with connection.transaction(), connection.cursor("named") as cursor:
        cursor.itersize = 15
        await cursor.execute(f"SELECT generate_series(1, {ROWS})".encode())
        return [row async for row in cursor]


async def _held_server_cursor(connection: Any_) -> Any:
    async with connection.cursor("held", withhold=True) as cursor:
        await cursor.execute(f"SELECT generate_series(1, {ROWS})".encode())
        return await cursor.fetchmany(20) + await cursor.fetchall()


async def _pipeline(connection: Any_) -> Any:
    query = marked(connection, "SELECT generate_series(%s::int, %s::int)")
    async with connection.pipeline() as pipeline:
        first = await connection.execute(query, [1, 20])
        await pipeline.sync()
        second = await connection.execute(query, [21, ROWS])
        return await first.fetchall() + await second.fetchall()


async def _notifications(connection: Any_) -> Any:
    await connection.execute("LISTEN news")
    await connection.execute(f"SELECT pg_notify('news', n::text) FROM generate_series(1, {ROWS}) AS n".encode())
    heard = [notify async for notify in connection.notifies(timeout=1, stop_after=ROWS)]
    return [(int(notify.payload),) for notify in heard]


WORK: list[Work] = [
    _execute,
    _prepared,
    _executemany,
    _stream,
    _read_copy,
    _write_copy,
    _server_cursor,
    _held_server_cursor,
    _pipeline,
    _notifications,
]


class Waits:
    """Calls ``interrupt`` at the wait for the socket, or the start of a statement, whose turn it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.countdown = 0
        self.interrupt: Callable[[], None] = lambda: None
        self.after = False
        self._wait, self._start = wire._wait, wire.Wire.start
        monkeypatch.setattr(wire, "_wait", self.wait)
        monkeypatch.setattr(wire, "_poll", lambda _descriptor, _wanted: 0)
        waits = self

        async def start(self: wire.Wire, generator: Any) -> Any:
            waits.tick(True)
            return await waits._start(self, generator)

        monkeypatch.setattr(wire.Wire, "start", start)

    def tick(self, due: bool) -> None:
        """Count, if ``due``."""
        if due:
            self.countdown -= 1
            if self.countdown == 0:
                self.interrupt()

    async def wait(self, descriptor: int, wanted: int) -> int:
        """Wait for the socket, as ``wire._wait`` does."""
        self.tick(not self.after)
        ready = await self._wait(descriptor, wanted)
        self.tick(self.after)
        return ready


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Every wait, those included that are over at once."""
    return Waits(monkeypatch)


def _rounds(waits: Waits) -> Iterator[int]:
    """Yield 1, 2, ... and let that wait be interrupted, until a round had fewer of them."""
    number = 0
    while waits.countdown <= 0:
        number += 1
        waits.countdown = number
        yield number
        left, waits.countdown = waits.countdown, 0
        if left > 0:
            return


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("after", [False, True])
async def test_cancelled(
    any_kind: Any_, database: Database, observer: Observer, waits: Waits, work: Work, after: bool
) -> None:
    connection, done = any_kind, 0
    waits.after = after
    for number in _rounds(waits):
        with trio.CancelScope() as scope:
            waits.interrupt = scope.cancel
            assert await work(connection) == NUMBERS, f"at wait {number}"
            done += 1
        assert connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE, f"at wait {number}"
        assert not connection.lock.locked(), f"at wait {number}"
        waits.interrupt = lambda: None
        if connection.closed:
            connection = await connect(database.conninfo())
            connection.cursor_factory = any_kind.cursor_factory
        await connection.execute("UNLISTEN *")
        assert await (await connection.execute("SELECT count(*) FROM pg_cursors WHERE name <> ''")).fetchone() == (0,)
        async for _ in connection.notifies(timeout=0):
            pass
    await observer.nothing_left_behind(connection)
    connection.abandon()
    assert done >= 1


@pytest.mark.parametrize("work", WORK)
async def test_closed_by_another_task(any_kind: Any_, database: Database, waits: Waits, work: Work) -> None:
    done = 0
    waits.after = True
    for number in _rounds(waits):
        connection = await connect(database.conninfo())
        connection.cursor_factory = any_kind.cursor_factory
        waits.countdown = number
        waits.interrupt = connection.abandon
        try:
            assert await work(connection) == NUMBERS, f"at wait {number}"
            done += 1
        except psycopg.OperationalError:
            assert connection.closed, f"at wait {number}"
        assert not connection.lock.locked(), f"at wait {number}"
        waits.interrupt = lambda: None
        connection.abandon()
    assert done >= 1
