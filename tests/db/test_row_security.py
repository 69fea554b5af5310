"""Walls by attack: what a tenant's session could try beside asking for rows of others."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from appliance.db import roles
from appliance.db.trio_psycopg import Connection, connect
from tests.support.postgres_server import Database

SECRET = "hidden-tenant"


@pytest.fixture
async def web(database: Database) -> AsyncIterator[Connection[Any]]:
    """A session of ``appliance_web`` beside rows of another tenant."""
    async with await connect(database.conninfo(roles.INGEST)) as ingest:
        for tenant in ("acme", SECRET):
            await ingest.execute(
                "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), %s)", [tenant]
            )
            await ingest.execute(
                "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
                " VALUES (now(), now(), %s, 'd', 'PENDING')",
                [tenant],
            )
    opened = await connect(database.conninfo(roles.WEB))
    yield opened
    opened.abandon()


async def as_acme(web: Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    async with web.transaction():
        await web.execute("SELECT set_config('appliance.tenant_id', 'acme', true)")
        return await (await web.execute(statement.encode())).fetchall()


async def test_a_condition_that_fails_on_a_hidden_row_is_never_asked_of_it(web: Connection[Any]) -> None:
    for table in ("tenants", "device_registry"):
        failing = f"SELECT tenant_id FROM {table} WHERE 1 / (CASE tenant_id WHEN '{SECRET}' THEN 0 ELSE 1 END) = 1"
        assert await as_acme(web, failing) == [("acme",)]
        casting = (
            f"SELECT tenant_id FROM {table} WHERE (CASE tenant_id WHEN 'acme' THEN '1' ELSE tenant_id END)::int = 1"
        )
        assert await as_acme(web, casting) == [("acme",)]


async def test_nobody_sees_what_other_sessions_ask(web: Connection[Any], database: Database) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as ingest:
        await ingest.execute(f"SELECT '{SECRET}'".encode())
        seen = await as_acme(web, "SELECT coalesce(query, '') FROM pg_stat_activity WHERE usename = 'appliance_ingest'")
    assert seen
    assert not any(SECRET in query for (query,) in seen)


async def test_a_session_of_a_tenant_empties_no_table_and_makes_nothing(web: Connection[Any]) -> None:
    for statement in (
        "TRUNCATE device_registry",
        "CREATE TABLE mine (a int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE appliance_owner",
        "SET ROLE appliance_ingest",
        "ALTER TABLE device_registry DISABLE ROW LEVEL SECURITY",
        "COPY device_registry TO PROGRAM 'cat'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await as_acme(web, statement)


async def test_statistics_of_the_planner_show_nothing_of_the_rows(web: Connection[Any], database: Database) -> None:
    async with await connect(database.conninfo(roles.OWNER)) as owner:
        await owner.execute("ANALYZE device_registry, tenants")
    shown = await as_acme(web, "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats")
    assert SECRET not in str(shown)
