"""Walls and promises of the schema, asked of the catalogue, so that no later table is forgotten."""

import subprocess
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from appliance.db import roles
from appliance.db.partitions import ensure_partitions
from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support.postgres_server import Database, programs

TODAY = date(2026, 11, 23)

WITH_TENANT = """
SELECT c.oid::regclass::text, c.relrowsecurity, c.relforcerowsecurity,
  EXISTS (SELECT 1 FROM pg_policy AS p WHERE p.polrelid = c.oid AND p.polroles = ARRAY['appliance_web'::regrole::oid]
    AND pg_get_expr(p.polqual, c.oid)
      = '(tenant_id = NULLIF(current_setting(''appliance.tenant_id''::text, true), ''''::text))'),
  NOT EXISTS (SELECT 1 FROM pg_policy AS p, unnest(p.polroles) AS r (oid) WHERE p.polrelid = c.oid
    AND r.oid NOT IN ('appliance_web'::regrole, 'appliance_owner'::regrole))
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1
"""


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[Connection[Any]]:
    """A session that writes, with partitions around TODAY."""
    opened = await connect(database.conninfo(roles.INGEST))
    await ensure_partitions(opened, TODAY, TODAY + timedelta(1))
    yield opened
    opened.abandon()


# A row of a tenant in every table of the first step.
ROWS = """
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), %(tenant)s);
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)
  VALUES (now(), now(), %(tenant)s, 'd', 'PENDING');
INSERT INTO device_state (tenant_id, device_id) VALUES (%(tenant)s, 'd');
INSERT INTO telemetry
VALUES (%(tenant)s, 'd', 'telemetry', %(day)s, 1, now(), false, false, 7, 's', 1.5, 2.5, '{"a": 1}');
INSERT INTO quarantine_events (ingested_at, topic, tenant_id, reason, payload)
VALUES (now(), 't', %(tenant)s, 'INVALID_JSON', '');
INSERT INTO quarantine_counters_minute VALUES (%(day)s, %(tenant)s, 'INVALID_JSON', 1);
INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored) VALUES (%(day)s, 'i', %(tenant)s, 1, 1);
INSERT INTO tenant_allowances VALUES (%(tenant)s, now());
"""


async def write_for(ingest: Connection[Any], tenant: str) -> None:
    for statement in ROWS.split(";")[:-1]:
        await ingest.execute(statement.encode(), {"tenant": tenant, "day": TODAY})


TABLES = (
    "tenants",
    "device_registry",
    "device_state",
    "telemetry",
    "quarantine_events",
    "quarantine_counters_minute",
    "ingest_ledger",
    "tenant_allowances",
)


async def count(connection: Connection[Any], table: str) -> int:
    row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))).fetchone()
    assert row is not None
    found: int = row[0]
    return found


async def test_every_table_with_a_tenant_has_walls(ingest: Connection[Any], observer: Observer) -> None:
    assert not ingest.closed
    rows = await (await observer.connection.execute(WITH_TENANT)).fetchall()
    tables = {table for table, *_ in rows}
    assert tables >= {*TABLES, "telemetry_20261123", "telemetry_20261124"}
    assert [table for table, *right in rows if not all(right)] == []


DRAWN = {
    "id", "replay_id", "mark_id", "job_id", "attempt_id",  # numbers that the database deals out
    "user_id", "token_id", "session_id",  # random, and open nothing
    "token_hash", "session_hash", "link_hash", "browser_hash",  # of secrets of 256 bits
}  # fmt: skip
"""Columns whose values nobody chooses: who meets another tenant's learns nothing."""


async def test_what_somebody_chooses_is_unique_within_a_tenant_and_refers_within_it(observer: Observer) -> None:
    """Else a refusal tells one tenant what another has, or a row leads into another's."""
    unique = await observer.connection.execute(
        "SELECT c.relname, array_agg(a.attname::text) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace GROUP BY i.indexrelid, c.relname"
    )
    of_tenants = {table for table, *_ in await (await observer.connection.execute(WITH_TENANT)).fetchall()}
    loose = [
        (table, columns)
        for table, columns in await unique.fetchall()
        if table in of_tenants and not {"tenant_id", *DRAWN}.intersection(columns)
    ]
    assert loose == []
    foreign = await observer.connection.execute(
        "SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, array_agg(a.attname::text)"
        " FROM pg_constraint AS k"
        " JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)"
        " WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace GROUP BY k.oid, k.conrelid, k.confrelid"
    )
    keys = {
        (table, frozenset(columns))
        for table, named, columns in await foreign.fetchall()
        if of_tenants >= {table, named}
    }
    without = {(table, columns | {"tenant_id"}) for table, columns in keys if "tenant_id" not in columns}
    assert without - keys == set(), "beside it stands the same with the tenant"


async def test_no_function_of_the_owner_trusts_the_search_path_of_its_caller(observer: Observer) -> None:
    loose = await observer.connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        " AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, public, pg_temp%', false)"
    )
    assert await loose.fetchall() == []


async def test_no_function_is_open_to_all(observer: Observer) -> None:
    open_ones = await observer.connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        " AND has_function_privilege('appliance_web', oid, 'EXECUTE') AND prorettype <> 'trigger'::regtype"
    )
    assert await open_ones.fetchall() == []


async def test_a_tenant_sees_its_own_rows_and_no_others(ingest: Connection[Any], database: Database) -> None:
    for tenant in ("acme", "rival"):
        await write_for(ingest, tenant)
    async with await connect(database.conninfo(roles.WEB)) as web:
        for table in TABLES:
            assert await count(web, table) == 0, f"{table} without a tenant"
            async with web.transaction():
                await web.execute("SELECT set_config('appliance.tenant_id', 'acme', true)")
                assert await count(web, table) == 1, f"{table} of acme"
            assert await count(web, table) == 0, f"{table} after the transaction"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await web.execute("SELECT * FROM telemetry_20261123")
        await web.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await web.execute("SELECT * FROM tenants")


async def test_the_owner_is_bound_by_force_but_sees_what_it_migrates(
    ingest: Connection[Any], database: Database
) -> None:
    await write_for(ingest, "acme")
    async with await connect(database.conninfo(roles.OWNER)) as owner:
        for table in (*TABLES, "telemetry_20261123"):
            assert await count(owner, table) == (2 if table == "tenants" else 1), "the appliance is a tenant, too"


async def test_ingest_never_changes_a_reading(ingest: Connection[Any]) -> None:
    for statement in ("UPDATE telemetry SET late = true", "DELETE FROM telemetry", "TRUNCATE telemetry"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await ingest.execute(statement.encode())


async def test_ingest_copies_under_forced_row_security(ingest: Connection[Any]) -> None:
    async with ingest.cursor().copy(
        "COPY telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics) FROM STDIN"
    ) as copy:
        await copy.write(b"acme\td\ttelemetry\t2026-11-23 12:00Z\t1\t2026-11-23 12:00Z\tf\tf\t{}\n")
    assert await count(ingest, "telemetry") == 1


IMPOSSIBLE = """
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '.hidden');
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'a/b');
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), repeat('a', 65));
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), E'a\\n');
INSERT INTO tenants (created_at, updated_at, tenant_id, status) VALUES (now(), now(), 'a', 'GONE');
INSERT INTO tenants (created_at, updated_at, tenant_id, rate) VALUES (now(), now(), 'a', 'NaN');
INSERT INTO tenants (created_at, updated_at, tenant_id, burst) VALUES (now(), now(), 'a', 'infinity');
INSERT INTO tenants (created_at, updated_at, tenant_id, provisioning) VALUES (now(), now(), 'a', 'maybe');
INSERT INTO ingest_ledger (minute, instance, received, stored) VALUES (now(), 'i', 2, 1);
INSERT INTO quarantine_events (ingested_at, topic, reason, payload, status) VALUES (now(), '', '', '', 'REPLAYED');
"""


async def test_what_cannot_be_is_refused(ingest: Connection[Any]) -> None:
    for statement in IMPOSSIBLE.split(";")[:-1]:
        with pytest.raises(psycopg.errors.CheckViolation):
            await ingest.execute(statement.encode())


async def test_keys_are_compared_byte_by_byte(observer: Observer) -> None:
    others = await observer.connection.execute(
        "SELECT a.attrelid::regclass::text, a.attname FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_collation AS l ON l.oid = a.attcollation"
        " WHERE c.relname = ANY(%s) AND a.attname IN ('tenant_id', 'device_id', 'site_id') AND l.collname <> 'C'",
        [list(TABLES)],
    )
    assert await others.fetchall() == []


async def test_state_is_rewritten_off_the_index(ingest: Connection[Any], observer: Observer) -> None:
    await ingest.execute(
        "INSERT INTO device_state (tenant_id, device_id) SELECT 't', n::text FROM generate_series(1, 200) n"
    )
    for _ in range(3):
        await ingest.execute("UPDATE device_state SET last_ts = clock_timestamp(), latest = latest || '{\"a\": 1}'")
    await ingest.execute("SELECT pg_stat_force_next_flush()")
    updated, hot = await observer.scalar(
        "SELECT ARRAY[n_tup_upd, n_tup_hot_upd] FROM pg_stat_user_tables WHERE relname = 'device_state'"
    )
    assert updated == 600
    assert hot > 0.5 * updated


def dump(database: Database) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs() / "pg_dump"), "--dbname", database.conninfo(roles.BACKUP)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8"},
    )


async def test_the_backup_role_can_dump_all_of_it(ingest: Connection[Any], database: Database) -> None:
    await write_for(ingest, "acme")
    dumped = dump(database)
    assert dumped.returncode == 0, dumped.stderr
    assert "COPY public.telemetry_20261123" in dumped.stdout
    assert "acme\td\ttelemetry" in dumped.stdout
