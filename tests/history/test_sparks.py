"""Many series at once, an hour a value."""

from datetime import UTC, datetime, timedelta

from appliance.history import sparks
from tests.devices.world import customer, ingest
from tests.postgres_server import Database

NOW = datetime(2026, 11, 23, 12, 34, tzinfo=UTC)
HOUR = NOW.replace(minute=0)


async def test_each_series_has_its_hours_in_its_place(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("acme", "rival"):
            await connection.execute("INSERT INTO tenants (tenant_id) VALUES (%s)", [tenant])
            for device, ago, mean in (("a", 0, 4.0), ("a", 23, 2.0), ("a", 24, 9.0), ("b", 1, 1e290)):
                await connection.execute(
                    "INSERT INTO telemetry_hourly VALUES (%s, %s, 't', %s, 2, %s, 0, 0, 0)",
                    [tenant, device, HOUR - timedelta(hours=ago), 2 * mean],
                )
        keys = [("acme", "b", "t"), ("acme", "a", "t"), ("acme", "a", "other"), ("acme", "b", "t")]
        found = await sparks.read(connection, keys, NOW)
        assert [len(series) for series in found] == [sparks.HOURS] * 4
        assert found[1] == [2.0, *[None] * 22, 4.0]
        assert found[0][22] == found[3][22] == 1e290
        assert set(found[2]) == {None}
        assert await sparks.read(connection, [], NOW) == []
    async with customer(database, "acme") as web:
        assert set((await sparks.read(web, [("rival", "a", "t")], NOW))[0]) == {None}
