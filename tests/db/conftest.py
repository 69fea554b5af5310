"""What tests of the driver need around the connection under test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from psycopg.pq import TransactionStatus

from appliance.db import roles
from appliance.db.trio_psycopg import Connection, connect
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.002

SESSIONS = """
SELECT pid, state, wait_event_type, wait_event, query FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the database as the server sees it."""

    pid: int
    state: str | None
    wait_event_type: str | None
    wait_event: str | None
    query: str


class Observer:
    """A second connection that looks at what the others are doing."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    async def sessions(self) -> list[Session]:
        """All the others."""
        cursor = await self.connection.execute(SESSIONS)
        return [Session(*row) for row in await cursor.fetchall()]

    async def until(self, condition: Callable[[list[Session]], bool]) -> None:
        """Return once the server shows what is expected."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while not condition(sessions := await self.sessions()):
                await trio.sleep(POLL_SECONDS)
            return
        raise AssertionError(f"the server never showed what was expected: {sessions}")

    async def until_waiting(self, event: str) -> None:
        """Return once one of the others waits for ``event`` (pg_stat_activity.wait_event)."""
        await self.until(lambda sessions: any(session.wait_event == event for session in sessions))

    async def scalar(self, query: str) -> Any:
        """The only value of a query."""
        row = await (await self.connection.execute(query.encode())).fetchone()
        assert row is not None
        return row[0]

    async def nothing_left_behind(self, connection: Connection[Any]) -> None:
        """The promise after any interruption: IDLE or closed here, and nothing under way on the server."""
        assert connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE
        await self.until(lambda sessions: all(session.state == "idle" for session in sessions))
        if not connection.closed:
            assert await (await connection.execute("SELECT 7")).fetchone() == (7,)


@pytest.fixture
def empty_database(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """A database that belongs to the owner, with nothing in it; the roles are those made for ``database_template``."""
    assert database_template
    made = create_database(postgres_server, owner=roles.OWNER)
    yield made
    drop_database(made)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection[Any]]:
    """The connection under test, in autocommit mode, as the superuser."""
    opened = await connect(database.conninfo())
    yield opened
    opened.abandon()


@pytest.fixture
async def observer(database: Database) -> AsyncIterator[Observer]:
    """A look from outside."""
    opened = await connect(database.conninfo())
    yield Observer(opened)
    opened.abandon()


async def cancel_when(ready: Awaitable[None], work: Callable[[], Awaitable[None]]) -> float:
    """Run ``work``, cancel it once ``ready`` returns, and say how many seconds it then took to end."""
    ended = trio.Event()

    async def run() -> None:
        try:
            await work()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await ready
        assert not ended.is_set(), "the work ended before it could be cancelled"
        cancelled = trio.current_time()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await ended.wait()
    return trio.current_time() - cancelled
