"""Zones in the database that were renamed: healed once, in every table, with audit rows under service time."""

from datetime import UTC, datetime

import psycopg
import pytest
import trio

from appliance import housekeeping, zones
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices import stored_zones
from appliance.runtime.activity import Activity, enter
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
AT = "'2026-11-29T12:00:00Z'"
TABLES = {
    "tenants": "time_zone",
    "sites": "time_zone",
    "users": "time_zone",
    "maintenance_windows": "time_zone",
    "integration_routes": "quiet_zone",
}


def fill(database: Database, zone: str) -> None:
    """Store a row of each table with this zone, and of most tables one with none or a present one."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, time_zone, created_at, updated_at)"
            f" VALUES ('acme', %s, {AT}, {AT}), ('other', 'Europe/Oslo', {AT}, {AT})".encode(),
            [zone],
        )
        connection.execute(
            "INSERT INTO sites (tenant_id, site_id, time_zone, created_at, updated_at)"
            f" VALUES ('acme', 'hall', %s, {AT}, {AT}), ('acme', 'yard', NULL, {AT}, {AT})".encode(),
            [zone],
        )
        connection.execute(
            "INSERT INTO users (tenant_id, email, name, role, time_zone, created_at)"
            f" VALUES ('acme', 'a@example.org', '', 'viewer', %s, {AT}),"
            f" (NULL, 'o@example.org', '', 'operator', %s, {AT})".encode(),
            [zone, zone],
        )
        connection.execute(
            "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, name, kind, weekdays,"
            f" start_time, length_minutes, time_zone) VALUES ({AT}, 'x', {AT}, 'acme', 'Wash', 'weekly', '{{sun}}',"
            " '22:00', 60, %s)".encode(),
            [zone],
        )
    add_route(
        database, add_integration(database), name="Night", quiet_from="22:00", quiet_until="06:00", quiet_zone=zone
    )


def stored(database: Database) -> set[tuple[str, str | None]]:
    with psycopg.connect(database.conninfo()) as connection:
        return {
            (table, zone)
            for table, column in TABLES.items()
            for (zone,) in connection.execute(f"SELECT {column} FROM {table}".encode()).fetchall()
        }


def audited(database: Database) -> list[tuple[object, ...]]:
    query = (
        "SELECT action, tenant_id, actor, actor_kind, at, before, after FROM audit_log WHERE actor = 'time zones'"
        " ORDER BY action, tenant_id NULLS FIRST"
    )
    with psycopg.connect(database.conninfo()) as connection:
        return list(connection.execute(query.encode()).fetchall())


async def test_old_names_become_present_ones_everywhere_once_and_are_audited(database: Database) -> None:
    fill(database, "US/Eastern")
    async with await connect(database.conninfo(INGEST)) as connection:
        assert [await stored_zones.rename(connection, NOW) for _ in range(2)] == [6, 0]
    assert {zone for _, zone in stored(database)} == {"America/New_York", "Europe/Oslo", "UTC", None}
    old, new = {"time_zone": "US/Eastern"}, {"time_zone": "America/New_York"}
    wash, night = {"name": "Wash"}, {"name": "Night"}
    by = ("time zones", "appliance", NOW)
    assert audited(database) == [
        ("maintenance.update", "acme", *by, wash | old, wash | new),
        ("route.update", "acme", *by, night | {"quiet_zone": "US/Eastern"}, night | {"quiet_zone": "America/New_York"}),
        ("site.update", "acme", *by, old, new),
        ("tenant.describe", "acme", *by, old, new),
        ("user.set_profile", None, *by, old, new),
        ("user.set_profile", "acme", *by, old, new),
    ]


async def test_what_is_present_or_unknown_is_left_alone(database: Database) -> None:
    fill(database, "Europe/Atlantis")
    before = stored(database)
    async with await connect(database.conninfo(INGEST)) as connection:
        assert await stored_zones.rename(connection, NOW) == 0
    assert (stored(database), audited(database)) == (before, [])


async def test_a_machine_that_lacks_the_present_name_keeps_the_old_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, "US/Eastern")
    monkeypatch.setattr(zones, "known", lambda: frozenset({"UTC", "US/Eastern"}))
    async with await connect(database.conninfo(INGEST)) as connection:
        assert await stored_zones.rename(connection, NOW) == 0


async def test_the_appliance_does_it_by_itself_but_never_while_its_clock_is_in_doubt(database: Database) -> None:
    fill(database, "US/Eastern")
    for trusted, left in ((False, "US/Eastern"), (True, "America/New_York")):
        clock, record = DoubtfulClock(NOW.timestamp(), NOW.timestamp(), trusted=trusted), Activity()
        enter(record)
        async with (
            open_pool(database.conninfo(INGEST), name="chores", min_size=1, max_size=1) as pool,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(housekeeping.run, pool, clock)
            with trio.fail_after(30):
                while record.words() is None:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert ("tenants", left) in stored(database)
