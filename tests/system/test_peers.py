"""Two appliances on one database, each with its own broker: the devices of one that is away are not called OFFLINE."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trio
from mqtt5 import QoS

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.publisher import TENANT, client

STALE, OFFLINE = 1, 3
"""Seconds."""
SETTINGS = {"APPLIANCE_PRESENCE_STALE_AFTER": str(STALE), "APPLIANCE_PRESENCE_OFFLINE_AFTER": str(OFFLINE)}
PRESENCE = """
SELECT presence_of(s, d.interval_seconds, w) FROM device_registry AS d
JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '') WHERE d.device_id = %s
"""
NEWEST_STRETCH = """
SELECT extract(epoch FROM l.ended_at - l.began_at)::float8 FROM listening AS l
JOIN device_state AS s ON s.heard_by = l.instance WHERE s.device_id = %s ORDER BY l.began_at DESC LIMIT 1
"""
PATIENCE = 60.0


@pytest.fixture
def peers(database: Database) -> Iterator[tuple[ApplianceProcess, ApplianceProcess]]:
    url = {"APPLIANCE_DATABASE_URL": database.url}
    first, second = ApplianceProcess({**url, **SETTINGS}), ApplianceProcess({**url, **SETTINGS})
    try:
        first.launch()
        second.launch()
        first.wait_ready()
        second.wait_ready()
        second.tenants[TENANT] = first.tenant()
        yield first, second
    finally:
        first.close()
        second.close()


def presence(appliance: ApplianceProcess, device: str) -> str | None:
    found = appliance.query(PRESENCE, device)
    return found[0][0] if found else None


async def talk_until_online(appliance: ApplianceProcess, connection: Client, device: str) -> None:
    """Let the device talk until it is ONLINE, with an interval that is too short to matter."""
    with trio.fail_after(within(PATIENCE)):
        while await trio.to_thread.run_sync(presence, appliance, device) != "ONLINE":
            await connection.publish(f"tenant/{TENANT}/device/{device}/telemetry", b'{"t":1}', qos=QoS.AT_LEAST_ONCE)
            await trio.sleep(0.1)
            set_interval = "UPDATE device_registry SET interval_seconds = 0.2 RETURNING 1"
            await trio.to_thread.run_sync(appliance.query, set_interval)


async def becomes_offline(appliance: ApplianceProcess, device: str, *, never: str | None = None) -> None:
    """Return once a device is OFFLINE; fails if the one that is ``never`` to be it becomes it before."""
    with trio.fail_after(within(PATIENCE)):
        while await trio.to_thread.run_sync(presence, appliance, device) != "OFFLINE":
            if never is not None:
                assert await trio.to_thread.run_sync(presence, appliance, never) != "OFFLINE"
            await trio.sleep(0.05)


async def test_devices_of_a_peer_are_offline_only_after_it_listened_to_their_silence(
    peers: tuple[ApplianceProcess, ApplianceProcess],
) -> None:
    first, second = peers
    async with client(first, "of-first") as at_first, client(second, "of-second") as at_second:
        await talk_until_online(second, at_second, "of-second")
        second.kill()
        [(instance,)] = first.query("SELECT heard_by FROM device_state WHERE device_id = 'of-second'")
        await talk_until_online(first, at_first, "of-first")
        await becomes_offline(first, "of-first", never="of-second")

        listed = await trio.to_thread.run_sync(partial(first.command, "peer", "list"))
        assert away(listed, instance) == (True, 1)
        await trio.to_thread.run_sync(second.start)
        await becomes_offline(second, "of-second")
        [(listened,)] = second.query(NEWEST_STRETCH, "of-second")
        assert listened >= OFFLINE, "a full interval since it is back"


def away(listed: list[dict[str, Any]], instance: str) -> tuple[bool, int]:
    [one] = [one for one in listed if one["instance"] == instance]
    return one["away"], one["devices"]
