"""Plans of named statements, as Postgres keeps them for a session."""

from typing import Any

import psycopg
from psycopg._queries import _query2pg


def kept_plan(connection: psycopg.Connection[Any], name: str, statement: str) -> str:
    """Return the plan that is kept of a statement, whatever its parameters, if the connection asks for such plans."""
    text, _, order, _ = _query2pg(statement.encode(), "utf-8")
    connection.execute(f"PREPARE {name} AS ".encode() + text)
    nothing = ", ".join(["NULL"] * len(order or []))
    rows = connection.execute(f"EXPLAIN (COSTS OFF) EXECUTE {name} ({nothing})".encode()).fetchall()
    return "\n".join(row[0] for row in rows)
