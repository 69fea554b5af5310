"""Routes of the platform before this one: a least severity in place of a list, and a table of which little is known."""

from typing import Any

import psycopg
import pytest

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.bootstrap import prepare
from appliance.db.migrations import migrate, shipped
from appliance.db.trio_psycopg import Connection, connect
from tests.support.alerts import add_alert
from tests.support.postgres_server import Database, PostgresServer
from tests.support.routes import add_integration, insert_tenant, jobs
from tests.support.tenants import rows
from tests.support.web.api_caller import calling, dashboard

DELIVERY = 27
"""The migration under test."""
INTEGRATION = "0c7a2f6e-6f5b-4d3c-9a54-0d3c8ce3b001"
ALL = ["critical", "high", "medium", "low", "info"]
EACH: dict[str, tuple[int | None, list[str | None] | None, list[str]]] = {
    "null": (None, None, ALL),
    "zero": (0, None, ALL),
    "one": (1, None, ALL),
    "two": (2, None, ["critical", "high", "medium", "low"]),
    "three": (3, None, ["critical", "high", "medium"]),
    "four": (4, None, ["critical", "high"]),
    "five": (5, None, ["critical"]),
    "six": (6, None, ALL),
    "minus": (-1, None, ALL),
    "kept": (5, ["low", "info"], ["low", "info"]),
    "empty": (4, [], ["critical", "high"]),
    "capitals": (5, ["HIGH", "Low"], ["high", "low"]),
    "unknown": (5, ["high", "catastrophic", None], ["high"]),
    "only unknown": (3, ["catastrophic"], ["critical", "high", "medium"]),
    "twice": (1, ["high", "HIGH"], ["high"]),
}
"""Of each kind: the least severity, the severities, and what it must become."""


async def before(database: Database) -> Connection[Any]:
    """Return a session of the owner in a database of the step before, with a tenant."""
    owner = await connect(database.conninfo(roles.OWNER))
    await migrate(owner, shipped()[: DELIVERY - 1], clock=SystemClock())
    at = "'2026-11-29T12:00:00Z', '2026-11-29T12:00:00Z'"
    await owner.execute(
        f"INSERT INTO tenants (tenant_id, name, time_zone, created_at, updated_at) VALUES ('acme', 'Acme', 'UTC', {at})"
    )
    return owner


async def after(owner: Connection[Any], columns: str = "name, severities") -> list[tuple[Any, ...]]:
    """Migrate, twice, and return the routes."""
    for _ in range(2):
        await migrate(owner, clock=SystemClock())
        found = await rows(owner, f'SELECT {columns} FROM integration_routes ORDER BY name COLLATE "C"')
    return found


async def test_each_least_severity_becomes_the_severities_that_it_meant(empty_database: Database) -> None:
    owner = await before(empty_database)
    await owner.execute(
        "CREATE TABLE integration_routes (route_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant_id text,"
        " name text, integration_id uuid, enabled boolean DEFAULT true, alert_types text[], site_ids text[],"
        " device_prefixes text[], min_severity int, severities text[])"
    )
    for name, (least, severities, _) in EACH.items():
        await owner.execute(
            "INSERT INTO integration_routes (tenant_id, name, integration_id, min_severity, severities)"
            " VALUES ('acme', %s, %s, %s, %s)",
            [name, INTEGRATION, least, severities],
        )
    kept = dict(await rows(owner, "SELECT name, route_id FROM integration_routes"))
    found = await after(owner, "name, severities, route_id, integration_id::text")
    assert {name: severities for name, severities, *_ in found} == {name: wanted for name, (*_, wanted) in EACH.items()}
    assert {name: route_id for name, _, route_id, _ in found} == kept
    assert {integration for *_, integration in found} == {INTEGRATION}
    owner.abandon()
    async with dashboard(empty_database) as served, calling(served, empty_database) as admin:
        items = (await admin.ask("GET", "/customer/integration-routes"))["items"]
        assert {item["name"]: item["severities"] for item in items} == {name: row[-1] for name, row in EACH.items()}
        one = items[0]
        where = f"/customer/integration-routes/{one['route_id']}"
        assert await admin.ask("GET", where) == one
        assert (one["integration_name"], one["integration_enabled"]) == (None, False), "it leads nowhere"
        integration = add_integration(empty_database, name="Ops")
        led = await admin.ask("PATCH", where, json={"integration_id": str(integration)})
        assert led["integration_name"] == "Ops"
    alert = add_alert(empty_database, severity=one["severities"][0])
    assert jobs(empty_database, "alert_id, route_id::text") == [(alert, one["route_id"])]


@pytest.mark.parametrize("identity", ["bigint", "text"])
async def test_what_is_known_of_a_route_is_taken_over_whatever_its_table_looks_like(
    empty_database: Database, identity: str
) -> None:
    """Other keys, lists as JSON and as text, names that are no names here, and what nobody has foreseen."""
    owner = await before(empty_database)
    await owner.execute(f"CREATE TABLE old_things (id {identity} PRIMARY KEY)".encode())
    await owner.execute(
        f"CREATE TABLE integration_routes (id {identity} PRIMARY KEY, tenant_id varchar(64), name text,"
        f" integration_id {identity} REFERENCES old_things, enabled int, alert_types jsonb, site_ids text,"
        " device_prefixes varchar(64)[], min_severity int, retries int NOT NULL)".encode()
    )
    await owner.execute("CREATE VIEW old_view AS SELECT * FROM integration_routes")
    await owner.execute("CREATE INDEX integration_routes_name ON integration_routes (name)")
    await owner.execute(f"INSERT INTO old_things VALUES ('1'::{identity})".encode())
    await owner.execute(
        f"""INSERT INTO integration_routes VALUES
          ('1'::{identity}, 'acme', 'Night', '1', 1, '["THRESHOLD"]', 'depot, shop', '{{fridge-}}', 4, 3),
          ('2'::{identity}, 'acme', 'night', '1', 0, NULL, '', NULL, NULL, 3),
          ('3'::{identity}, 'acme', E' \\n ', NULL, NULL, '"x"', NULL, '{{}}', 5, 3),
          ('4'::{identity}, 'gone', 'Of nobody', '1', 1, NULL, NULL, NULL, 5, 3),
          ('5'::{identity}, NULL, 'Of no tenant', '1', 1, NULL, NULL, NULL, 5, 3)""".encode()
    )
    found = await after(owner, "tenant_id, left(name, 7), enabled, severities, alert_types, site_ids, device_prefixes")
    assert found == [
        ("acme", "Night", True, ["critical", "high"], ["THRESHOLD"], ["depot", "shop"], ["fridge-"]),
        ("gone", "Of nobo", True, ["critical"], [], [], []),
        ("acme", "Route", True, ["critical"], ["x"], [], []),
        ("acme", "night (", False, ALL, [], [], []),
    ]
    owner.abandon()


async def test_a_table_of_another_owner_in_a_database_of_nothing_else_is_taken_over(
    postgres_server: PostgresServer, empty_database: Database
) -> None:
    """Its tenants come later."""
    with psycopg.connect(empty_database.conninfo()) as superuser:
        superuser.execute(
            "CREATE TABLE integration_routes (id serial PRIMARY KEY, tenant_id text, name text, integration_id int,"
            " min_severity int)"
        )
        superuser.execute("INSERT INTO integration_routes VALUES (7, 'acme', 'Old', 3, 4)")
    for _ in range(2):
        await prepare(postgres_server.conninfo(), empty_database.name)
        async with await connect(empty_database.conninfo(roles.OWNER)) as owner:
            await migrate(owner, clock=SystemClock())
    with psycopg.connect(empty_database.conninfo()) as superuser:
        insert_tenant(superuser, "acme")
    async with dashboard(empty_database) as served, calling(served, empty_database) as admin:
        [old] = (await admin.ask("GET", "/customer/integration-routes"))["items"]
        assert (old["name"], old["severities"], old["version"]) == ("Old", ["critical", "high"], 1)
        await admin.ask("PATCH", f"/customer/integration-routes/{old['route_id']}", json={"name": "Older"})


async def test_a_database_without_old_routes_has_none(empty_database: Database) -> None:
    owner = await before(empty_database)
    assert await after(owner) == []
    owner.abandon()
