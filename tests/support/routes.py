"""Integrations and routes for tests, put into the database as people would have made them, and the jobs that follow."""

from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tests.support.alerts import OPENED_AT
from tests.support.postgres_server import Database

_numbers = count(1)

Connection = psycopg.Connection[Any]


def insert_integration(connection: Connection, tenant_id: str = "acme", **columns: Any) -> UUID:
    """Write an integration, by default an enabled webhook, and return its id. The tenant must be there."""
    row = {
        "tenant_id": tenant_id,
        "name": f"Integration {next(_numbers)}",
        "type": "webhook",
        "config": '{"url": "https://receiver.example/hook"}',
        "created_at": OPENED_AT,
        "updated_at": OPENED_AT,
    }
    return _insert(connection, "integrations", "integration_id", row | columns)


def insert_route(connection: Connection, integration_id: UUID, tenant_id: str = "acme", **columns: Any) -> UUID:
    """Write a route, by default one that takes everything, and return its id."""
    row = {
        "tenant_id": tenant_id,
        "name": f"Route {next(_numbers)}",
        "integration_id": integration_id,
        "severities": ["critical", "high", "medium", "low", "info"],
        "created_at": OPENED_AT,
        "updated_at": OPENED_AT,
    }
    return _insert(connection, "integration_routes", "route_id", row | columns)


def add_integration(database: Database, tenant_id: str = "acme", **columns: Any) -> UUID:
    """Write an integration in a transaction of its own, with its tenant if that is not there."""
    with psycopg.connect(database.conninfo()) as connection:
        insert_tenant(connection, tenant_id)
        return insert_integration(connection, tenant_id, **columns)


def add_route(database: Database, integration_id: UUID, tenant_id: str = "acme", **columns: Any) -> UUID:
    """Write a route in a transaction of its own."""
    with psycopg.connect(database.conninfo()) as connection:
        return insert_route(connection, integration_id, tenant_id, **columns)


def insert_tenant(connection: Connection, tenant_id: str) -> None:
    """Write a tenant, unless it is there."""
    connection.execute(
        "INSERT INTO tenants (created_at, updated_at, tenant_id) SELECT %(at)s, %(at)s, %(tenant)s"
        " WHERE NOT EXISTS (SELECT FROM tenants WHERE tenant_id = %(tenant)s) ON CONFLICT DO NOTHING",
        {"at": OPENED_AT, "tenant": tenant_id},
    )


def jobs(database: Database, columns: str = "alert_id, event") -> list[tuple[Any, ...]]:
    """Return the jobs in the order in which they were written."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(f"SELECT {columns} FROM delivery_jobs ORDER BY job_id".encode()).fetchall()


def _insert(connection: Connection, table: str, key: str, row: dict[str, Any]) -> UUID:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
        sql.Identifier(key),
    )
    made = connection.execute(statement, row).fetchone()
    assert made is not None
    found: UUID = made[0]
    return found
