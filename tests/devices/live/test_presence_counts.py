"""The number of devices by presence in /metrics."""

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.devices.device import NewDevice
from appliance.devices.live.presence_counts import count_once
from appliance.devices.seats import changes
from appliance.metrics import Metrics
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, add_tenant, ingest, sell


async def test_devices_that_were_never_heard_are_counted_apart(database: Database) -> None:
    metrics = Metrics()
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await sell(connection, 10)
        for device in ("a", "b", "talks"):
            await changes.create(connection, TENANT, NewDevice(device), BY, grace=GRACE)
        await connection.execute(
            "INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at)"
            " VALUES ('acme', 'talks', %(at)s, %(at)s)",
            {"at": "2026-01-01T00:00:00Z"},
        )
    async with open_pool(database.conninfo(INGEST), name="counts", min_size=1, max_size=1) as pool:
        await count_once(pool, metrics)
    text = metrics.exposition().decode()
    assert 'appliance_devices{presence="new"} 2.0' in text
    assert 'appliance_devices{presence="online"} 1.0' in text
    assert 'appliance_devices{presence="offline"} 0.0' in text
