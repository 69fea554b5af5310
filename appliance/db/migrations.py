"""The schema, one numbered step after the other: ``sql/migrations/NNNN_name.sql``, forward only.

Each step runs in a transaction together with its row in ``schema_migrations``, so it is there whole or not at all; a
failed one leaves the schema of the step before. Run as ``appliance_owner``. A second process that migrates at the same
time waits, and finds nothing left to do.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import psycopg
import structlog
from psycopg import sql

from appliance import __version__
from appliance.assets import asset
from appliance.clock import Clock
from appliance.db import locks, statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

STATEMENTS = statements.load("db")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step; ``checksum`` is the SHA-256 of its file."""

    version: int
    name: str
    checksum: str
    text: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the step in a file. Raises ValueError if its name is not ``NNNN_name.sql``."""
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is no name for a migration: NNNN_name.sql")
        content = path.read_bytes()
        return cls(int(match[1]), match[2], sha256(content).hexdigest(), content.decode())

    @property
    def file_name(self) -> str:
        """Return the name of its file in sql/migrations."""
        return f"{self.version:04}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Applied:
    """One step that was applied to a database, and the version of the program that applied it."""

    version: int
    name: str
    checksum: str
    program: str


class NewerDatabaseError(ApplianceError):
    """The schema was made by a newer program; ``newest`` is its last step, ``known`` how many this program has."""

    def __init__(self, newest: Applied, known: int) -> None:
        super().__init__(
            f"the database is newer than this program: its schema is {newest.version:04}_{newest.name}, made by"
            f" version {newest.program}; this is version {__version__} and knows {known} migrations."
            f" Run version {newest.program} or newer"
        )
        self.newest = newest
        self.known = known


Before = Callable[[Sequence[Applied], Sequence[Migration]], Awaitable[None]]
"""What is done before the steps of a schema that is there already; raises what keeps them from being applied."""


def shipped(folder: Path | None = None) -> list[Migration]:
    """Return the steps of this program, in order. Raises ValueError if they are not numbered 1, 2, 3, ..."""
    found = sorted((folder or asset("sql", "migrations")).glob("*.sql"))
    migrations = [Migration.read(path) for path in found]
    for number, migration in enumerate(migrations, start=1):
        if migration.version != number:
            raise ValueError(f"{migration.file_name} is found where migration {number:04} is expected")
    return migrations


def outstanding(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """Return the pending steps of ``known``.

    Raises NewerDatabaseError if more were applied, ApplianceError if those are not the beginning of ``known``.
    """
    if len(applied) > len(known):
        raise NewerDatabaseError(applied[-1], len(known))
    for migration, behind in zip(known, applied, strict=False):
        if (migration.version, migration.checksum) != (behind.version, behind.checksum):
            raise ApplianceError(
                f"migration {migration.file_name} is not the one applied to this database"
                f" ({behind.version:04}_{behind.name}, by version {behind.program}):"
                " an applied migration must never change; install the program as it was released"
            )
    return list(known[len(applied) :])


async def schema_version(connection: Connection[Any]) -> int:
    """Return the number of the newest applied step; 0 for an empty database."""
    applied = await read_applied(connection)
    return applied[-1].version if applied else 0


async def pending(connection: Connection[Any], known: Sequence[Migration] | None = None) -> list[Migration]:
    """Return the pending steps without applying them. Raises ApplianceError like ``migrate``."""
    return outstanding(shipped() if known is None else known, await read_applied(connection))


async def migrate(
    connection: Connection[Any],
    known: Sequence[Migration] | None = None,
    *,
    clock: Clock,
    before: Before | None = None,
) -> list[Migration]:
    """Apply all pending steps and return them; ``connection`` is in autocommit mode, as the owner.

    ``before`` is called with the applied and the pending steps, under the lock, if there are some of both.

    Raises ApplianceError if the database is newer than the program, if an applied step is not the one shipped, and if
    a step fails; the steps before that one stay. After any error the connection is closed.
    """
    steps = shipped() if known is None else known
    await connection.execute("SELECT pg_advisory_lock(%s)", [locks.MIGRATION_LOCK])
    try:
        await connection.execute(STATEMENTS["create_migration_table"])
        applied = await read_applied(connection)
        todo = outstanding(steps, applied)
        if before is not None and applied and todo:
            await before(applied, todo)
        if todo:  # a backup reads every table, and all others would queue up behind a table that waits for it
            await connection.execute("SELECT pg_advisory_lock(%s)", [locks.BACKUP_LOCK])
        for number, migration in enumerate(todo, start=1):
            if applied:  # a large table may take its time
                log.info("migration begins", migration=migration.file_name, number=number, of=len(todo))
            await _apply(connection, migration, datetime.fromtimestamp(clock.now(), UTC))
            log.info("migration applied", migration=migration.file_name)
    except BaseException:
        connection.abandon()  # the end of the session releases the lock in any state
        raise
    if todo:
        await connection.execute("SELECT pg_advisory_unlock(%s)", [locks.BACKUP_LOCK])
    await connection.execute("SELECT pg_advisory_unlock(%s)", [locks.MIGRATION_LOCK])
    return todo


async def read_applied(connection: Connection[Any]) -> list[Applied]:
    """Return the applied steps in order; none for an empty database."""
    row = await (await connection.execute(STATEMENTS["migration_table_exists"])).fetchone()
    if row != (True,):
        return []
    cursor = await connection.execute(STATEMENTS["applied_migrations"])
    return [Applied(*columns) for columns in await cursor.fetchall()]


async def _apply(connection: Connection[Any], migration: Migration, now: datetime) -> None:
    record = {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "now": now,
        "program": __version__,
    }
    try:
        async with connection.transaction():
            await connection.execute(sql.SQL(migration.text), prepare=False)
            await connection.execute(STATEMENTS["record_migration"], record)
    except psycopg.Error as error:
        raise ApplianceError(_failure(migration, error)) from error


def _failure(migration: Migration, error: psycopg.Error) -> str:
    position = error.diag.statement_position
    line = f" line {migration.text.count(chr(10), 0, int(position)) + 1}" if position else ""
    told = error.diag.message_primary or str(error).strip()
    return f"migration {migration.file_name}{line} failed, the schema is as before it: {told}"
