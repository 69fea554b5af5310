"""Readings of deleted devices: they stay or they go, as was said, and nothing else goes."""

from datetime import date
from typing import Any

import pytest

from appliance.clock import SystemClock
from appliance.db.partitions import ensure_partitions
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection
from appliance.devices import erasure
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.errors import Conflict
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, INGEST, TENANT, add_tenant, ingest, rows, sell


async def read(connection: Connection[Any], device: str, count: int) -> None:
    """Store readings of two days."""
    await ensure_partitions(connection, date(2026, 11, 22), date(2026, 11, 23))
    await connection.execute(
        "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        " SELECT %s, %s, 'telemetry', '2026-11-22T23:59:00Z'::timestamptz + n * interval '1 second', n,"
        " '2026-11-23T00:00:00Z', false, false, '{}' FROM generate_series(1, %s) AS n",
        [TENANT, device, count],
    )


async def test_a_device_deleted_with_its_history_loses_it_in_slices_and_keeps_its_tombstone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASE_ROWS", 50)
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        for name in ("gone", "kept", "alive"):
            await changes.create(connection, TENANT, NewDevice(name, name="A name"), BY, grace=GRACE)
            await read(connection, name, 120)
            await connection.execute("INSERT INTO device_state (tenant_id, device_id) VALUES (%s, %s)", [TENANT, name])
        await changes.delete(connection, TENANT, "gone", BY, keep_history=False)
        await changes.delete(connection, TENANT, "kept", BY, keep_history=True)
        with pytest.raises(Conflict, match="still being erased"):
            await changes.create(connection, TENANT, NewDevice("gone"), BY, grace=GRACE)
        async with open_pool(database.conninfo(INGEST), name="ingest", max_size=1) as pool:
            assert await erasure.erase_marked(pool, SystemClock()) == 120
            assert await erasure.erase_marked(pool, SystemClock()) == 0
        left = await rows(connection, "SELECT device_id, count(*) FROM telemetry GROUP BY 1 ORDER BY 1")
        assert left == [("alive", 120), ("kept", 120)]
        assert await rows(connection, "SELECT device_id FROM device_state ORDER BY 1") == [("alive",), ("kept",)]
        tombstone = await rows(connection, "SELECT status, name FROM device_registry WHERE device_id = 'gone'")
        assert tombstone == [("DECOMMISSIONED", None)]
        await changes.create(connection, TENANT, NewDevice("gone"), BY, grace=GRACE)


async def test_only_a_marked_device_can_lose_readings(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        await changes.create(connection, TENANT, NewDevice("alive"), BY, grace=GRACE)
        await read(connection, "alive", 5)
        assert await rows(connection, "SELECT erase_history(%s, 'alive', 10, now())", TENANT) == [(0,)]
        assert await rows(connection, "SELECT count(*) FROM telemetry") == [(5,)]
