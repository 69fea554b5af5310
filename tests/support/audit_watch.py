"""Find transactions that wrote into a database without an audit row, and what the audit gained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg

WRITE_DOWN: Sequence[str] = (
    "CREATE TABLE written (n bigserial, by_transaction bigint DEFAULT txid_current(), relation text)",
    """
    CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      INSERT INTO public.written (relation) VALUES (TG_RELID::regclass::text);
      RETURN NULL;
    END $$
    """,
    """
    DO $$
    DECLARE relation regclass;
    BEGIN
      FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND NOT relispartition AND relname <> 'written'
      LOOP
        EXECUTE format('CREATE TRIGGER write_down AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW'
          ' EXECUTE FUNCTION write_down()', relation);
      END LOOP;
    END $$
    """,
)
"""Triggers on every table that write down which transaction wrote into it."""


@dataclass(frozen=True, slots=True)
class Gained:
    """What the audit log gained since ``begin``."""

    actions: Sequence[str]
    """Each once, sorted."""
    actors: frozenset[str]
    kinds: frozenset[str]


class AuditWatch:
    """Watches a database from its superuser's connection, in autocommit mode; ``begin`` before each change."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._written = self._last = 0

    @classmethod
    def over(cls, connection: psycopg.Connection[Any]) -> Self:
        """Watch a database whose writes are not recorded yet."""
        for statement in WRITE_DOWN:
            connection.execute(statement.encode())
        return cls(connection)

    def begin(self) -> None:
        """Start a new change: what follows is reported."""
        self._written = self._number("SELECT coalesce(max(n), 0) FROM written")
        self._last = self._number("SELECT coalesce(max(id), 0) FROM audit_log")

    def unrecorded(self) -> list[frozenset[str]]:
        """Return the tables of each transaction that wrote without an audit row."""
        rows = self._connection.execute(
            "SELECT array_agg(DISTINCT relation) FROM written WHERE n > %s GROUP BY by_transaction"
            " HAVING NOT bool_or(relation = 'audit_log')",
            [self._written],
        )
        return [frozenset(tables) for (tables,) in rows]

    def gained(self) -> Gained:
        """Return what the audit log gained since ``begin``."""
        query = "SELECT action, actor, actor_kind FROM audit_log WHERE id > %s"
        rows = self._connection.execute(query, [self._last]).fetchall()
        actions, actors, kinds = (frozenset(row[column] for row in rows) for column in range(3))
        return Gained(sorted(actions), actors, kinds)

    def _number(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])
