"""Collations: whether text still sorts as it did when the indexes were built.

A collation belongs to the operating system of the server (glibc) or to ICU, and its order can change with them. An
index that was built by the former order then misses rows, and a unique one may take a row twice. Postgres keeps the
version by which it was created, and knows the present one. C and C.UTF-8, which our own clusters use, have none.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError

STATEMENTS = statements.load("db")


@dataclass(frozen=True, slots=True)
class ChangedCollation:
    """A collation that sorts otherwise than before."""

    name: str | None
    """None: that of the database."""
    recorded: str
    """The version by which the indexes were built."""
    actual: str
    indexes: tuple[str, ...]
    """Indexes of ours that depend on it."""

    @property
    def text(self) -> str:
        """Return what has changed, in words."""
        what = "of the database" if self.name is None else self.name
        return f"the collation {what} was version {self.recorded}, and is {self.actual}"


async def changed(connection: Connection[Any]) -> list[ChangedCollation]:
    """Return the collations that sort otherwise than before. Any role may ask."""
    cursor = await connection.execute(STATEMENTS["collation_of_database"])
    recorded, actual = require(await cursor.fetchone(), "database")
    found: dict[tuple[str | None, str, str], list[str]] = {}
    if recorded is not None and actual is not None and recorded != actual:
        found[None, recorded, actual] = []
    cursor = await connection.execute(STATEMENTS["collated_indexes"])
    for index, name, own_recorded, own_actual in await cursor.fetchall():
        key = (name, recorded, actual) if name is None else (name, own_recorded, own_actual)
        if None not in key[1:] and key[1] != key[2]:
            found.setdefault(key, []).append(index)
    return [ChangedCollation(*key, indexes=tuple(indexes)) for key, indexes in found.items()]


async def rebuild(connection: Connection[Any]) -> list[str]:
    """Build the indexes anew that depend on the order of the database; return their names.

    As the owner, in a transaction. Each is locked against writers meanwhile; the largest, of the audit, takes seconds.
    Raises ApplianceError when an index cannot be built because rows are there twice.
    """
    done: list[str] = []
    for collation in await changed(connection):
        if collation.name is not None:  # somebody else's, and only a superuser can say that it is mended
            continue
        for index in collation.indexes:
            try:
                await connection.execute(sql.SQL("REINDEX INDEX {}").format(sql.Identifier("public", index)))
            except psycopg.errors.UniqueViolation as error:
                raise ApplianceError(
                    f"{index} cannot be built anew, since rows are there twice ({error.diag.message_detail}): remove"
                    " the wrong one of them, then try again"
                ) from error
            done.append(index)
        database = sql.Identifier(connection.info.dbname)
        await connection.execute(sql.SQL("ALTER DATABASE {} REFRESH COLLATION VERSION").format(database))
    return done
