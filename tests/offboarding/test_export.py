"""A tenant is exported: all of it, as the database has it, without secrets, in bounded memory."""

import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from appliance.db.partitions import ensure_partitions
from appliance.db.trio_psycopg import Connection
from appliance.devices.seats.import_file import read as read_devices
from appliance.errors import NotFound
from appliance.offboarding import export
from tests.support.offboarding import fill, rows_of, tables
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.soak import times
from tests.support.tenants import customer, ingest

LEAVING, STAYING = "acme", "rival"
NOW = datetime(2026, 11, 26, tzinfo=UTC)

EXPORTED: Mapping[str, tuple[str, set[str]]] = {
    "tenants": ("tenant.json", {"claim_mqtt_hash", "claim_token_hash"}),
    "subscriptions": ("subscriptions.json", set()),
    "subscription_terms": ("subscription_terms.json", {"idempotency_key"}),
    "subscription_audit": ("subscription_audit.csv", set()),
    "sites": ("sites.json", set()),
    "metrics": ("metrics.json", set()),
    "device_registry": ("devices.csv", {"erase_history", "rate", "burst", "updated_at"}),
    "device_state": ("device_state.csv", {"allowance_full_at", "heard_by", "metric_times"}),
    "telemetry": ("telemetry/2026-11-22.csv", set()),
    "telemetry_hourly": ("telemetry_hourly.csv", set()),
    "quarantine_events": ("quarantine.csv", {"size"}),
    "quarantine_counters_minute": ("quarantine_counts.csv", set()),
    "ingest_ledger": ("message_counts.csv", set()),
    "alert_rules": ("alert_rules.json", set()),
    "fleet_alert": ("alerts.csv", set()),
    "alert_events": ("alert_events.csv", set()),
    "maintenance_windows": ("maintenance_windows.json", set()),
    "integrations": ("integrations.json", {"secrets"}),
    "integration_routes": ("integration_routes.json", set()),
    "delivery_jobs": (
        "deliveries.csv",
        {"unreachable_since", "severity_rank", "fingerprint", "leased_by", "lease_until"},
    ),
    "delivery_attempts": ("delivery_attempts.csv", set()),
    "users": ("users.json", {"password_hash", "totp_secret", "totp_step"}),
    "api_tokens": ("api_tokens.json", {"token_hash"}),
    "audit_log": ("audit.csv", set()),
}
"""Table -> its file, and the columns that stay where they are: secrets, and working state of this appliance."""
NOT_EXPORTED = {
    "alert_conditions", "alert_ends", "alert_rule_state", "message_losses", "integration_health",  # states of services
    "quarantine_replays", "quarantine_totals", "telemetry_marks", "tenant_allowances",
    "renewal_requests", "subscription_warnings",
    "device_credentials", "sessions", "links", "known_browsers", "api_requests",  # secrets
}  # fmt: skip
OTHER_NAMES = {"id": "alert_id", "payload": "payload_hex", "interval_seconds": "interval"}


async def take(database: Database, tenant: str = LEAVING) -> zipfile.ZipFile:
    """Return an export as operators have it."""
    async with ingest(database) as connection:
        return await _open(partial(_within, connection), tenant)


@asynccontextmanager
async def _within(connection: Connection[Any]) -> AsyncIterator[Connection[Any]]:
    async with connection.transaction():
        yield connection


async def _open(reading: export.OpenTransaction, tenant: str) -> zipfile.ZipFile:
    pieces = [piece async for piece in export.archive(reading, tenant, now=NOW, version="1")]
    return zipfile.ZipFile(io.BytesIO(b"".join(pieces)))


def heads_of(archive: zipfile.ZipFile, name: str) -> set[str]:
    if name.endswith(".csv"):
        return set(lines_of(archive, name)[0])
    value = json.loads(archive.read(name))
    return set(value if isinstance(value, dict) else value[0])


def lines_of(archive: zipfile.ZipFile, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(archive.read(name).decode("utf-8-sig"))))


async def test_of_each_table_and_each_column_it_is_decided_whether_it_is_exported(database: Database) -> None:
    assert sorted([*EXPORTED, *NOT_EXPORTED]) == tables(database)
    fill(database, LEAVING)
    archive = await take(database)
    for table, (name, kept) in EXPORTED.items():
        columns = {
            row[0]
            for row in look(
                database,
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                table,
            )
        }
        heads = heads_of(archive, name)
        wanted = {
            column if column in heads else OTHER_NAMES.get(column, column) for column in columns - kept - {"tenant_id"}
        }
        assert wanted == heads - {"tenant_id"}, table
    assert heads_of(archive, "device_limits.csv") == {"device_id", "rate", "burst", "updated_at"}


async def test_what_is_in_the_archive_is_what_the_database_has_and_the_manifest_says(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    archive = await take(database)
    assert archive.testzip() is None
    manifest = json.loads(archive.read("manifest.json"))
    assert (manifest["tenant_id"], manifest["time_zone"], manifest["format"]) == (LEAVING, "UTC", 1)
    assert {file["name"] for file in manifest["files"]} == set(archive.namelist()) - {"manifest.json"}
    for file in manifest["files"]:
        data = archive.read(file["name"])
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        if file["name"].endswith(".csv"):
            assert file["rows"] == len(lines_of(archive, file["name"])) - 1
    rows = {file["name"]: file["rows"] for file in manifest["files"]}
    there = rows_of(database, LEAVING)
    days = {name: count for name, count in rows.items() if name.startswith("telemetry/")}
    assert sum(days.values()) == len(there["telemetry"])
    assert len(days) == 3
    for table, (name, _) in EXPORTED.items():
        if table != "telemetry":
            assert rows[name] == len(there[table]), table
    read = [(row[0], row[2], json.loads(row[-1])) for name in sorted(days) for row in lines_of(archive, name)[1:]]
    stored = look(database, "SELECT device_id, ts, metrics FROM telemetry WHERE tenant_id = %s", LEAVING)
    assert sorted(read, key=str) == sorted(
        [(device, ts.astimezone(UTC).isoformat(), metrics) for device, ts, metrics in stored], key=str
    )


async def test_no_secret_and_no_formula_is_in_it(database: Database) -> None:
    fill(database, LEAVING)
    archive = await take(database)
    whole = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, data in whole.items() if b"SECRET" in data or b"argon2" in data] == []
    cells = [cell for name in whole if name.endswith(".csv") for row in lines_of(archive, name) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "@", "+"))] == []
    assert "'@hot" in cells


async def test_the_devices_can_be_imported_again(database: Database) -> None:
    fill(database, LEAVING)
    archive = await take(database)
    imported = read_devices(archive.read("devices.csv"))
    assert [row.new.device_id for row in imported] == [f"d{number}" for number in range(1, 6)]
    assert {(row.new.name, row.new.tags) for row in imported} == {("=cmd|x", ("a, b", "c"))}


async def test_an_admin_has_the_same_archive_and_nothing_of_anybody_else(database: Database) -> None:
    """Under row-level security, by columns that its role may read."""
    fill(database, LEAVING, STAYING)
    whole = await take(database)
    reduced = await _open(partial(customer, database, LEAVING), LEAVING)
    assert {name: whole.read(name) for name in whole.namelist()} == {
        name: reduced.read(name) for name in reduced.namelist()
    }
    with pytest.raises(NotFound):
        await _open(partial(customer, database, LEAVING), STAYING)
    with pytest.raises(NotFound):
        await take(database, "nobody")


async def test_pages_join_without_a_gap_or_a_row_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, LEAVING, STAYING)
    whole = await take(database)
    monkeypatch.setattr(export, "PAGE_ROWS", 2)
    again = await take(database)
    names = [name for name in whole.namelist() if name != "manifest.json"]
    assert [whole.read(name) for name in names] == [again.read(name) for name in names]


async def test_an_archive_that_broke_off_is_no_archive(database: Database) -> None:
    fill(database, LEAVING)
    async with ingest(database) as connection:
        reading = partial(_within, connection)
        pieces = [piece async for piece in export.archive(reading, LEAVING, now=NOW, version="1")]
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(pieces[:-1])))


READINGS = times(20_000)
MOST_BYTES = 8_000_000
"""What an export takes in memory, however many readings there are: a page of rows and the compressor."""


async def test_a_large_export_takes_no_more_memory_than_a_small_one(database: Database) -> None:
    fill(database, LEAVING)
    async with ingest(database) as connection:
        day = date(2026, 11, 24)
        await ensure_partitions(connection, day, day + timedelta(1))
        await connection.execute(
            "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
            " SELECT %s, 'd1', 'telemetry', '2026-11-24T00:00:00Z'::timestamptz + n * interval '1 millisecond', n,"
            " '2026-11-24T00:00:00Z', false, false, jsonb_build_object('v', random(), 'w', random())"
            " FROM generate_series(1, %s) AS n",
            [LEAVING, READINGS],
        )
        tracemalloc.start()
        try:
            sent = 0
            async for piece in export.archive(partial(_within, connection), LEAVING, now=NOW, version="1"):
                sent += len(piece)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sent > READINGS * 10
    assert most < MOST_BYTES


async def test_readings_received_after_the_beginning_are_not_in_it(database: Database) -> None:
    """Else an export of a tenant that sends would never end at the present day."""
    fill(database, LEAVING)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("UPDATE telemetry SET received_at = %s WHERE seq > 10", [NOW + timedelta(seconds=1)])
    archive = await take(database)
    days = [name for name in archive.namelist() if name.startswith("telemetry/")]
    assert sum(len(lines_of(archive, name)) - 1 for name in days) == 10
