"""The database reads no clock: every time is handed in by the program, from its service time.

One exception: leases, of replays and deliveries, by which peers with clocks of their own tell who has stopped working.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from appliance.assets import asset
from appliance.db import statements
from appliance.devices import sites, tenants
from appliance.devices.credentials import credential
from appliance.devices.device import NewDevice
from appliance.devices.metrics import store as metrics
from appliance.devices.metrics.metric import Metric
from appliance.devices.seats import changes
from appliance.devices.sites import Site
from appliance.devices.tenants import Strategy
from appliance.people import users
from appliance.people.role import Role
from appliance.people.users import NewUser
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, ingest, rows, sell

CLOCK = re.compile(
    r"""\b(?:
      (?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|uuidv7|uuid_generate_v[167])\s*\(
    | current_(?:date|time|timestamp)\b | local(?:time|timestamp)\b
    | age\s*\(\s*[^(),]*\)
    )
    | '(?:now|today|tomorrow|yesterday)'""",
    re.IGNORECASE | re.VERBOSE,
)
"""Every way of Postgres to ask what time it is; ``age`` of one date counts from today."""

LEASES = {
    ("quarantine", "claim_replay"),
    ("quarantine", "advance_replay"),
    ("outbox", "lease_jobs"),
    ("outbox", "take_back"),
}
"""Statements that write or compare ``quarantine_replays.beat_at`` and ``delivery_jobs.lease_until``."""

FIRST_WITHOUT = 14
"""The migration from which on none reads the clock; what earlier ones made of it is replaced (0015)."""

CATALOGUE = """
SELECT 'default of ' || attrelid::regclass || '.' || attname, pg_get_expr(adbin, adrelid)
FROM pg_attrdef JOIN pg_class AS c ON c.oid = adrelid
JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'function ' || oid::regprocedure, concat_ws(' ', prosrc, pg_get_function_sqlbody(oid),
  pg_get_function_arguments(oid))
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'view ' || oid::regclass, pg_get_viewdef(oid)
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
UNION ALL
SELECT 'trigger ' || tgname, pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint ' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'c'
UNION ALL
SELECT 'policy ' || polname || ' on ' || polrelid::regclass,
  coalesce(pg_get_expr(polqual, polrelid), '') || coalesce(pg_get_expr(polwithcheck, polrelid), '')
FROM pg_policy
"""
"""What the database does by itself, by name, with its text."""


def readers(connection: psycopg.Connection) -> list[str]:
    """Return the objects of a database that read its clock."""
    return sorted(name for name, text in connection.execute(CATALOGUE) if CLOCK.search(text))


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo()) as opened:
        yield opened


@pytest.mark.parametrize(
    "text",
    [
        "SELECT now()",
        "SELECT pg_catalog.NOW ()",
        "beat < Clock_Timestamp()",
        "SELECT statement_timestamp()",
        "SELECT transaction_timestamp()",
        "SELECT timeofday()",
        "SELECT CURRENT_DATE - 1",
        "SELECT current_time(3)",
        "SELECT current_timestamp",
        "SELECT localtime, 1",
        "SELECT localtimestamp(0)",
        "SELECT 'now'::timestamptz",
        "SELECT timestamptz 'today'",
        "SELECT age(created_at)",
        "SELECT uuidv7()",
    ],
)
def test_every_way_to_read_the_clock_is_found(text: str) -> None:
    assert CLOCK.search(text)


@pytest.mark.parametrize(
    "text", ["%(now)s", "updated_at = EXCLUDED.updated_at", "current_setting('x')", "age(%(a)s, b)", "known (x)"]
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert not CLOCK.search(text)


def test_no_statement_reads_the_clock_but_those_of_leases() -> None:
    found = {
        (path.stem, name)
        for path in asset("sql", "queries").glob("*.sql")
        for name, text in statements.load(path.stem).items()
        if CLOCK.search(text)
    }
    assert found == LEASES
    for package, name in LEASES:
        uses = [line for line in statements.load(package)[name].splitlines() if CLOCK.search(line)]
        assert all("beat_at" in line or "lease_until" in line for line in uses), "the lease alone, nothing beside it"


def test_no_new_migration_reads_the_clock() -> None:
    read = {}
    for path in sorted(asset("sql", "migrations").glob("*.sql")):
        code = re.sub(r"--.*", "", path.read_text())
        if int(path.name[:4]) >= FIRST_WITHOUT and (match := CLOCK.search(code)):
            read[path.name] = match[0]
    assert read == {}


def test_nothing_in_the_database_reads_its_clock(owner: psycopg.Connection) -> None:
    assert readers(owner) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("ALTER TABLE users ALTER created_at SET DEFAULT now()", "default of users.created_at"),
        ("CREATE FUNCTION f() RETURNS date LANGUAGE sql AS 'SELECT CURRENT_DATE'", "function f()"),
        ("CREATE FUNCTION f() RETURNS date LANGUAGE sql BEGIN ATOMIC SELECT CURRENT_DATE; END", "function f()"),
        ("CREATE VIEW v AS SELECT localtimestamp", "view v"),
        (
            "CREATE TRIGGER t BEFORE INSERT ON users WHEN (now() > '2000-01-01') EXECUTE FUNCTION seats_guard()",
            "trigger t",
        ),
        ("ALTER TABLE users ADD CONSTRAINT k CHECK (created_at < now()) NOT VALID", "constraint k"),
        ("CREATE POLICY p ON users USING (created_at < now())", "policy p on users"),
    ],
)
def test_whatever_reads_it_is_found_in_the_catalogue(owner: psycopg.Connection, change: str, name: str) -> None:
    owner.execute(change.encode())
    assert readers(owner) == [name]


RECORDED = """
SELECT created_at FROM tenants WHERE tenant_id <> 'appliance'
UNION ALL SELECT updated_at FROM tenants WHERE tenant_id <> 'appliance'
UNION ALL SELECT created_at FROM device_registry UNION ALL SELECT updated_at FROM device_registry
UNION ALL SELECT created_at FROM subscriptions UNION ALL SELECT bought_at FROM subscription_terms
UNION ALL SELECT at FROM subscription_audit UNION ALL SELECT at FROM audit_log
UNION ALL SELECT created_at FROM sites UNION ALL SELECT updated_at FROM sites
UNION ALL SELECT created_at FROM device_credentials UNION ALL SELECT created_at FROM users
UNION ALL SELECT created_at FROM metrics UNION ALL SELECT updated_at FROM metrics
"""


async def test_what_is_recorded_carries_the_time_of_its_change(database: Database) -> None:
    """Whatever the clock of the database's machine shows: here it is ten years behind."""
    later = replace(BY, now=datetime(2036, 12, 31, 23, 30, tzinfo=UTC))
    async with ingest(database) as connection:
        await tenants.add(connection, TENANT, later, provisioning=Strategy.AUTO, time_zone="Pacific/Auckland")
        sold = await sell(connection, 5, now=later.now)
        await changes.create(connection, TENANT, NewDevice("a", site_id="mentioned"), later, grace=GRACE)
        await credential.create(connection, TENANT, "a", later)
        await sites.create(connection, TENANT, Site("made"), later)
        await metrics.create(connection, TENANT, Metric("t"), later)
        await users.add(connection, NewUser("kim@acme.example", Role.VIEWER, TENANT), later)
        recorded = await rows(connection, RECORDED)
        assert len(recorded) > 20
        assert set(recorded) == {(later.now,)}
        assert sold.subscription_id.startswith("SUB-20361231-"), "the day in UTC, in whatever zone the server is"
        next_change = replace(later, now=later.now + timedelta(seconds=1))
        await tenants.suspend(connection, TENANT, next_change)
        assert (await tenants.get(connection, TENANT)).version == next_change.now
