"""An alert that a reading opened stays open in silence, and says since when nothing came."""

from datetime import timedelta

from appliance.alerts.silence.unread import no_reading_since
from tests.alerts.silence.fleet import open_fleet
from tests.support.postgres_server import Database
from tests.support.tenants import NOW, TENANT, customer, rows


async def test_an_alert_of_a_silent_device_says_since_when_nothing_came(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b", "c")
        for number, device in enumerate("abc"):
            await fleet.connection.execute(
                "INSERT INTO fleet_alert (tenant_id, device_id, rule_id, rule_version, alert_type, fingerprint,"
                " severity, summary, details, created_at, started_at, last_triggered_at, due_at)"
                " VALUES (%s, %s, %s, 1, 'THRESHOLD', %s, 'high', 'hot', %s::text::jsonb, %s, %s, %s, %s)",
                [TENANT, device, f"{number:032}", device, '{"metric": "temp"}', NOW, NOW, NOW, NOW],
            )
        await fleet.hear("a", "b", at=0)
        await fleet.measure("b", "temp", at=-50)
        await fleet.hear("c", at=300)
        await fleet.round(301)
        of_rules = "alert_type = 'THRESHOLD' AND status <> 'CLOSED'"
        assert [device for _, device, _ in await fleet.alerts(of_rules)] == ["a", "b", "c"]
        ids = [number for (number,) in await rows(fleet.connection, "SELECT id FROM fleet_alert ORDER BY id")]
        async with customer(database, TENANT) as connection:
            found = await no_reading_since(connection, ids)
            assert found == {ids[0]: NOW, ids[1]: NOW - timedelta(seconds=50)}, "c is heard"
            assert await no_reading_since(connection, []) == {}
        async with customer(database, "rival") as connection:
            assert await no_reading_since(connection, ids) == {}
