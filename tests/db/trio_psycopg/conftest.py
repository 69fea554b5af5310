"""The three kinds of cursor that read a whole result, and what the tests of all three need."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, cast

import psycopg
import pytest
import trio

from appliance.db.trio_psycopg import Connection, wire
from appliance.db.trio_psycopg.cursors import Cursor
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database

STUCK_SECONDS = 20.0
KINDS = [
    pytest.param(Cursor, id="binding"),
    pytest.param(psycopg.AsyncClientCursor, id="client"),
    pytest.param(psycopg.AsyncRawCursor, id="raw"),
]
"""``client`` and ``raw`` are psycopg's own classes: what they leave under way, the connection's lock cleans up."""

dropped_generator = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")
"""Trio advises ``aclosing``; what happens without it is what is claimed here."""


CLEAN = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid();
DROP SCHEMA public CASCADE;
CREATE SCHEMA public
"""
"""Waits for the end of the sessions that a test has left, so that the next one observes its own alone."""


@pytest.fixture(scope="session")
def shared_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """One database for all of these tests, without the product's tables."""
    made = create_database(postgres_server)
    yield made
    drop_database(made)


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """The shared database, emptied after the test: a tenth of the time that a database of its own would take."""
    yield shared_database
    with psycopg.ClientCursor(psycopg.connect(shared_database.conninfo(), autocommit=True)) as cursor:
        cursor.execute(CLEAN, [shared_database.name])
        cursor.connection.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[psycopg.AsyncCursor[Any]]:
    """A class of cursor."""
    found: type[psycopg.AsyncCursor[Any]] = request.param
    return found


@pytest.fixture
def any_kind(connection: Connection[Any], kind: type[psycopg.AsyncCursor[Any]]) -> Connection[Any]:
    """The connection under test, with each class of cursor."""
    connection.cursor_factory = kind
    return connection


def marked(connection: Connection[Any], query: str) -> bytes:
    """Return a query with ``%s`` for its parameters in the form that the connection's cursors want."""
    if issubclass(connection.cursor_factory, psycopg.AsyncRawCursor):
        pieces = iter(query.split("%s"))
        query = next(pieces) + "".join(f"${number}{piece}" for number, piece in enumerate(pieces, 1))
    return query.encode()


async def value(connection: Connection[Any], query: bytes = b"SELECT 7") -> Any:
    """Return the only value of a query."""
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> float:
    """For tests in which the server does not answer, or the connection is not given back."""
    monkeypatch.setattr(wire, "GRACE_SECONDS", 0.3)
    return 0.3


@pytest.fixture
async def never_stuck(nursery: trio.Nursery) -> None:
    """Fail in place of waiting for ever."""

    async def watch() -> None:
        await trio.sleep(STUCK_SECONDS)
        raise AssertionError(f"the test waits for something since {STUCK_SECONDS} s")

    nursery.start_soon(watch)


def closing(rows: AsyncIterator[Any]) -> AbstractAsyncContextManager[AsyncGenerator[Any, None]]:
    """Return ``aclosing`` of what ``stream()`` returns: an async generator, though psycopg declares less."""
    return aclosing(cast("AsyncGenerator[Any, None]", rows))
