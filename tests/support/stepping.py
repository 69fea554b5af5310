"""Transactions that run statement by statement: stopped before any of them, or met there with another."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import trio

from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError
from tests.support.postgres_server import Database

Act = Callable[[Connection[Any]], Awaitable[object]]
"""Something that is done in a transaction."""
Before = Callable[[int], Awaitable[None]]
"""Called with the number of a statement, from 1, before it is sent."""

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.002
BLOCKED = "SELECT cardinality(pg_blocking_pids(%s)) > 0"


class SteppedConnection(Connection[Any]):
    """A connection that says before each statement which one it is. Its COMMIT counts as the last."""

    before: Before
    number = 0

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        """Count the statement, and send it."""
        await self.step()
        return await super().execute(*arguments, **named)

    async def step(self) -> None:
        """Count a statement."""
        self.number += 1
        await self.before(self.number)

    async def perform(self, act: Act, before: Before, opening: str | None = None) -> object:
        """Do ``act`` in one transaction. ``opening`` is a statement that is not counted, as of who may see what."""
        self.number, self.before = 0, _pass
        async with self.transaction():
            if opening is not None:
                await super().execute(opening.encode())
            self.before = before
            outcome = await act(self)
            await self.step()
        return outcome


async def _pass(_: int) -> None:
    """Let a statement pass."""


async def stepped(database: Database, role: str) -> SteppedConnection:
    """Return a connection of its own."""
    connection = await SteppedConnection.connect(database.conninfo(role), autocommit=True)
    connection.before = _pass
    return connection


@dataclass(eq=False)
class Walker:
    """One of two transactions that are to meet: it stops before statement ``stop``, and waits to be released."""

    connection: SteppedConnection
    act: Act
    stop: int
    arrived: trio.Event = field(default_factory=trio.Event)
    """It is there, or it ended before."""
    met: bool = False
    outcome: object = None
    error: Exception | None = None

    async def walk(self, release: trio.Event) -> None:
        """Run to the end; an error of the domain or of the database is kept."""

        async def before(number: int) -> None:
            if number == self.stop:
                self.met = True
                self.arrived.set()
                await release.wait()

        try:
            self.outcome = await self.connection.perform(self.act, before)
        except (ApplianceError, psycopg.Error) as error:
            self.error = error
        finally:
            self.arrived.set()


async def meet(watcher: Connection[Any], first: Walker, second: Walker) -> bool:
    """Let both walk at once, ``first`` ahead, each stopped before its statement until the other is at its own.

    One that waits for a lock of the other cannot get there, and counts as there: both go on then. Return whether they
    stood before their statements at the same moment.
    """
    release = trio.Event()
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            for walker in (first, second):
                nursery.start_soon(walker.walk, release)
                while not walker.arrived.is_set() and not await _blocked(watcher, walker):
                    await trio.sleep(POLL_SECONDS)
            met = first.met and second.met
            release.set()
    return met


async def _blocked(watcher: Connection[Any], walker: Walker) -> bool:
    cursor = await watcher.execute(BLOCKED, [walker.connection.info.backend_pid])
    return (await cursor.fetchone() or (False,))[0] is True


async def steps_of(connection: SteppedConnection, act: Act) -> int:
    """Do ``act``, and return the number of its statements."""
    await connection.perform(act, _pass)
    return connection.number
