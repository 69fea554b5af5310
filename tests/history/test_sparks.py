"""Many series at once, an hour a value."""

from datetime import UTC, datetime, timedelta

from appliance.history import sparks
from tests.support.postgres_server import Database
from tests.support.tenants import customer, ingest

NOW = datetime(2026, 11, 23, 12, 34, tzinfo=UTC)
HOUR = NOW.replace(minute=0)


async def test_each_series_has_its_hours_in_its_place(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("acme", "rival"):
            await connection.execute(
                "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), %s)", [tenant]
            )
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


async def test_an_hour_that_is_not_rolled_up_yet_stands_with_its_newest_value(database: Database) -> None:
    async with ingest(database) as connection:
        await connection.execute("SELECT telemetry_ensure_partitions('2026-11-23', '2026-11-23')")
        for minute, value in ((0, "1"), (20, "7"), (30, '"text"')):
            await connection.execute(
                "INSERT INTO telemetry"
                " (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics) VALUES"
                " ('acme', 'a', 'telemetry', %s, 1, now(), false, false, jsonb_build_object(%s::text, %s::jsonb))",
                [HOUR + timedelta(minutes=minute), "note" if minute == 30 else "t", value],
            )
        await connection.execute("INSERT INTO telemetry_hourly VALUES ('acme', 'a', 't', %s, 1, 1, 1, 1, 1)", [HOUR])
        await connection.execute(
            "INSERT INTO telemetry_marks (marked_at, tenant_id, device_id, hour) VALUES (now(), 'acme', 'a', %s)",
            [HOUR],
        )
        values, texts = await sparks.read(connection, [("acme", "a", "t"), ("acme", "a", "note")], NOW)
    assert values == [*[None] * 23, 7.0]
    assert set(texts) == {None}
