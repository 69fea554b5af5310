"""Who is on the database at this moment: every appliance holds one lock there for as long as its program runs.

Whoever migrates takes the same lock alone, so no older program writes into a schema that it does not know. A lock ends
with its session: neither a clock nor a row that a killed process left behind has a say.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.db import locks, statements
from appliance.db.migrations import NewerDatabaseError, pending
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError
from appliance.runtime.activity import activity

STATEMENTS = statements.load("peers")

LOCK = locks.lock_key("attendance")
NAME = "appliance "
"""Of the session, before the id of the instance: by it the holders of the lock are told apart."""
CHECK_SECONDS = 2.0
LEAVING_SECONDS = 2.0
"""Seconds for the server to notice that a program has ended which was stopped, or killed, just now."""
LOOK_SECONDS = 0.1
SINCE_SCHEMA = 38
"""Programs that know this schema hold the lock; older ones are known by their listening alone."""
LISTENING_SECONDS = 7.0
"""Within them the record of a program that listens moves on: every 5 seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attendant:
    """An appliance that is on the database. What is not known of it is None."""

    instance: str | None
    name: str | None
    """The name of its machine."""
    version: str | None

    @property
    def title(self) -> str:
        """Return what people know it by: machine, version and id."""
        known = [f"version {self.version}" if self.version else None, f"instance {self.instance or 'unknown'}"]
        return f"{self.name or 'an appliance'} ({', '.join(filter(None, known))})"


class Attendance:
    """A service: holds the lock of this appliance, and ends the process when the schema is that of a newer program."""

    def __init__(self, connect: Callable[[], Awaitable[Connection[Any]]], instance: str) -> None:
        """``connect`` opens a connection in autocommit that belongs to this object alone."""
        self._connect = connect
        self._instance = instance
        self._backoff = Backoff(first=0.05, maximum=5.0)
        self._started = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the lock until cancelled; started once it is held, which is after a migration that goes on.

        Raises ApplianceError when the database is newer than this program.
        """
        while True:
            try:
                async with await self._connect() as connection:
                    await hold(connection, self._instance)
                    await self._watch(connection, task_status)
            except psycopg.OperationalError as error:
                activity().failed(error)
                log.warning("not in attendance", error=str(error).strip())
                await trio.sleep(self._backoff.next())

    async def _watch(self, connection: Connection[Any], task_status: trio.TaskStatus[None]) -> None:
        while True:
            try:
                await pending(connection)
            except NewerDatabaseError as error:
                if not self._started:
                    raise
                raise ApplianceError(
                    f"the database was migrated while this program ran, which ends: {error}"
                ) from error
            except ApplianceError:  # somebody changed a row of the list: the doctor tells of it
                if not self._started:
                    raise
            if not self._started:
                self._started = True
                task_status.started()
            self._backoff.reset()
            activity().did()
            activity().rests(CHECK_SECONDS)
            await trio.sleep(CHECK_SECONDS)


async def hold(connection: Connection[Any], instance: str) -> None:
    """Take the lock of ``instance`` for as long as the session lasts. Waits for a migration that goes on."""
    await connection.execute(STATEMENTS["attend"], {"name": f"{NAME}{instance}"})
    await connection.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])


async def take_alone(connection: Connection[Any]) -> list[Attendant]:
    """Take the lock alone for as long as the session lasts, and return nobody; else return who holds it."""
    tried = trio.current_time()
    while not await _taken(connection):
        there = await attendants(connection)
        if trio.current_time() - tried >= LEAVING_SECONDS:
            return there or [Attendant(None, None, None)]
        await trio.sleep(LOOK_SECONDS)
    return []


async def listeners(connection: Connection[Any]) -> list[Attendant]:
    """Return appliances of programs that hold no lock yet: their listening moves on while it is watched."""
    try:
        before = await _listening(connection)
        with trio.move_on_after(LISTENING_SECONDS if before else 0):
            while True:
                await trio.sleep(LOOK_SECONDS)
                with trio.CancelScope(shield=True):  # a statement that is broken off would end the session
                    after = await _listening(connection)
                if moved := [attendant for attendant, at in after.items() if at != before.get(attendant)]:
                    return moved
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):  # a schema from before there were peers
        pass
    return []


async def _listening(connection: Connection[Any]) -> dict[Attendant, datetime]:
    cursor = await connection.execute(STATEMENTS["newest_listening"])
    return {Attendant(*known): at for *known, at in await cursor.fetchall()}


async def leave(connection: Connection[Any]) -> None:
    """Give back the lock that ``take_alone`` has taken."""
    await connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


async def attendants(connection: Connection[Any]) -> list[Attendant]:
    """Return the appliances that are on the database."""
    cursor = await connection.execute(STATEMENTS["list_attendants"], {"lock": LOCK, "name": NAME})
    return [Attendant(*row) for row in await cursor.fetchall()]


async def _taken(connection: Connection[Any]) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
    return bool(require(await cursor.fetchone(), "an answer")[0])
