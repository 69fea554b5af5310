"""What ingest keeps in memory hears of every change that concerns it, and of nothing else (P23)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from appliance.db.changes import listen
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.seats import changes
from appliance.devices.seats.imports import import_many
from appliance.subscriptions import store
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, INGEST, TENANT, add_tenant, announce, ingest, many, sell

Told = list[tuple[str, Any]]


class Ear:
    """Hears both channels; ``since`` returns what was told until the mark of this moment arrives."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._send, self._receive = trio.open_memory_channel[tuple[str, str]](1000)
        self._marks = 0

    async def run(self, database: Database, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen."""
        await listen(
            lambda: connect(database.conninfo(INGEST)),
            ["appliance_registry", "appliance_broker", "mark"],
            lambda notification: self._send.send_nowait((notification.channel, notification.payload)),
            lambda: None,
            task_status=task_status,
        )

    async def since(self) -> Told:
        """What was told since the last call. The mark is sent after it and so comes after it."""
        self._marks += 1
        await self._connection.execute("SELECT pg_notify('mark', %s)", [str(self._marks)])
        told: Told = []
        with trio.fail_after(60):
            while (item := await self._receive.receive()) != ("mark", str(self._marks)):
                told.append((item[0].removeprefix("appliance_"), msgspec.json.decode(item[1])))
        return told


@asynccontextmanager
async def world(database: Database) -> AsyncIterator[tuple[Connection[Any], Ear]]:
    """A tenant with a subscription, and an ear that has heard of nothing yet."""
    async with ingest(database) as connection, trio.open_nursery() as nursery:
        await add_tenant(connection)
        await sell(connection, 10_000)
        ear = Ear(connection)
        await nursery.start(ear.run, database)
        yield connection, ear
        nursery.cancel_scope.cancel()


def devices(*names: str) -> tuple[str, Any]:
    """What is told of some devices."""
    return "registry", {"devices": [[TENANT, name] for name in names]}


TENANTS = ("registry", {"tenants": [TENANT]})


async def test_a_change_of_devices_names_them(database: Database) -> None:
    async with world(database) as (connection, ear):
        await announce(connection, "b", "a")
        assert await ear.since() == [devices("a", "b")]
        await changes.deactivate(connection, TENANT, "a", BY)
        assert await ear.since() == [devices("a")]
        await connection.execute("UPDATE device_registry SET site_id = 'roof' WHERE device_id = 'b'")
        assert await ear.since() == [devices("b")]
        await connection.execute("UPDATE device_registry SET rate = 5")
        assert await ear.since() == [devices("a", "b")]
        await connection.execute("UPDATE device_registry SET device_id = 'c' WHERE device_id = 'b'")
        assert await ear.since() == [devices("b", "c")]
        await connection.execute("DELETE FROM device_registry WHERE device_id = 'c'")
        assert await ear.since() == [devices("c")]


async def test_what_ingest_does_not_read_is_not_told(database: Database) -> None:
    async with world(database) as (connection, ear):
        await announce(connection, "a")
        await ear.since()
        for silent in (
            "UPDATE device_registry SET name = 'n', place = 'p', interval_seconds = 5",
            "UPDATE device_registry SET status = status, rate = 7 WHERE false",
            "UPDATE device_registry SET status = status",
            "UPDATE subscriptions SET status = 'GRACE', description = 'd'",
            "INSERT INTO device_state (tenant_id, device_id) VALUES ('acme', 'a')",
            "UPDATE tenants SET name = 'n', time_zone = 'Europe/Berlin' WHERE tenant_id <> 'appliance'",
        ):
            await connection.execute(silent.encode())
            assert await ear.since() == [], silent


async def test_tenants_and_subscriptions_are_told_by_tenant(database: Database) -> None:
    async with world(database) as (connection, ear):
        (row,) = await store.list_all(connection, TENANT)
        raised = store.Changes(device_limit=10_001)
        await store.change(connection, TENANT, row.subscription_id, raised, BY, grace=GRACE)
        assert await ear.since() == [TENANTS]
        await connection.execute("UPDATE subscriptions SET hold_reason = 'unpaid'")
        assert await ear.since() == [TENANTS]
        await connection.execute("UPDATE tenants SET provisioning = 'off' WHERE tenant_id <> 'appliance'")
        assert await ear.since() == [TENANTS]
        await connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id <> 'appliance'")
        assert sorted(await ear.since()) == [("broker", {"tenants": [TENANT]}), TENANTS]
        await connection.execute(
            "INSERT INTO tenants (tenant_id, created_at, updated_at)"
            " SELECT 't' || repeat('x', 50) || n, now(), now() FROM generate_series(1, 300) AS n"
        )
        assert sorted(await ear.since()) == [("broker", {"all": True}), ("registry", {"all": True})]


async def test_many_devices_are_one_notification_by_tenant(database: Database) -> None:
    async with world(database) as (connection, ear):
        await import_many(connection, TENANT, many(50), BY, grace=GRACE)
        assert await ear.since() == [devices(*(new.device_id for new in many(50)))]
        await import_many(connection, TENANT, many(51, "e"), BY, grace=GRACE)
        assert await ear.since() == [TENANTS]


async def test_credentials_tell_ingest_of_tokens_and_the_broker_of_passwords(database: Database) -> None:
    async with world(database) as (connection, ear):
        await announce(connection, "a")
        await ear.since()
        broker = ("broker", {"devices": [[TENANT, "a"]]})
        await connection.execute(
            "INSERT INTO device_credentials (created_at, tenant_id, device_id, mqtt_hash, token_hash)"
            " VALUES (now(), %s, 'a', 'x', %s)",
            [TENANT, bytes(32)],
        )
        assert sorted(await ear.since()) == [broker, devices("a")]
        await connection.execute("UPDATE device_credentials SET last_used_at = now()")
        assert await ear.since() == []
        await connection.execute("UPDATE device_credentials SET staged_mqtt_hash = 'y', staged_at = now()")
        assert await ear.since() == [broker]
        await connection.execute("UPDATE device_credentials SET token_hash = %s", [bytes([1]) * 32])
        assert await ear.since() == [devices("a")]
        await changes.revoke(connection, TENANT, "a", BY)
        assert sorted(await ear.since()) == [broker, devices("a")]
