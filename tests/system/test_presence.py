"""Presence of a device over the whole appliance: by its messages, its will, its silence, and never by our absence."""

from contextlib import AsyncExitStack
from typing import Any

import trio
from mqtt5 import QoS

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client
from tests.support.small_device import connected

STALE, OFFLINE = 1, 3
"""Seconds; one is the least that the configuration takes."""
AWAY = STALE + 1
SETTINGS = {"APPLIANCE_PRESENCE_STALE_AFTER": str(STALE), "APPLIANCE_PRESENCE_OFFLINE_AFTER": str(OFFLINE)}
PRESENCE = """
SELECT presence_of(s, d.interval_seconds, w), s.refused_reason
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
"""
SILENCE = """
SELECT silence_since(s.last_seen_at, w), extract(epoch FROM now() - s.last_seen_at)::float8
FROM device_state AS s JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
"""
"""Seconds of silence that count, and seconds of it that there were."""
PATIENCE = 40.0


def presence(appliance: ApplianceProcess) -> tuple[Any, ...]:
    """Of the only device: its presence, and the reason of its last refusal."""
    [found] = appliance.query(PRESENCE)
    return found


async def says(appliance: ApplianceProcess, connection: Client, payload: bytes, wanted: str) -> None:
    """Say it until the device is what that makes of it: a busy machine may look when it is silent again."""
    with trio.fail_after(PATIENCE):
        while (await trio.to_thread.run_sync(presence, appliance))[0] != wanted:
            await say(connection, payload)
            await trio.sleep(0.1)


async def becomes(appliance: ApplianceProcess, wanted: str) -> None:
    """Return once the device is what is wanted."""
    with trio.move_on_after(PATIENCE):
        while (await trio.to_thread.run_sync(presence, appliance))[0] != wanted:
            await trio.sleep(0.05)
        return
    raise AssertionError(f"the device did not become {wanted}, it is {presence(appliance)}")


async def say(connection: Client, payload: bytes, kind: str = "telemetry") -> None:
    await connection.publish(f"tenant/{TENANT}/device/d-1/{kind}", payload, qos=QoS.AT_LEAST_ONCE)


async def test_silence_counts_as_far_as_somebody_listened(appliance: ApplianceProcess) -> None:
    appliance.start(**SETTINGS)
    async with client(appliance, "device") as connection:
        await say(connection, b'{"t":1}')
        await registered(appliance)
        await says(appliance, connection, b'{"t":1}', "ONLINE")
        await becomes(appliance, "STALE")
        await becomes(appliance, "OFFLINE")
        await says(appliance, connection, b'{"t":2}', "ONLINE")
        await say(connection, b"offline", "status")
        await becomes(appliance, "OFFLINE")
        await says(appliance, connection, b'{"t":', "REFUSED")
        assert presence(appliance) == ("REFUSED", "INVALID_JSON")
        await says(appliance, connection, b'{"t":3}', "ONLINE")
    appliance.kill()
    await trio.sleep(AWAY)
    await trio.to_thread.run_sync(lambda: appliance.start(**SETTINGS))
    [(counted, silent)] = appliance.query(SILENCE)
    assert counted <= silent - AWAY, "it was we who were away"
    await becomes(appliance, "STALE")
    await becomes(appliance, "OFFLINE")


async def registered(appliance: ApplianceProcess) -> None:
    """Return once the device is registered, with an interval that is not learned, and too short to matter."""
    with trio.fail_after(PATIENCE):
        set_interval = "UPDATE device_registry SET interval_seconds = 0.2 RETURNING device_id"
        while not await trio.to_thread.run_sync(appliance.query, set_interval):
            await trio.sleep(0.05)


async def test_offline_counts_when_the_broker_shows_that_the_device_is_gone(appliance: ApplianceProcess) -> None:
    await trio.to_thread.run_sync(appliance.start)
    await trio.to_thread.run_sync(appliance.tenant)
    async with AsyncExitStack() as stack:
        devices = {}
        for name in ("stays", "goes"):
            own = await trio.to_thread.run_sync(appliance.command, "device", "add", TENANT, name)
            will = (f"tenant/{own['username']}/status", b"offline")
            open_one = connected(
                "127.0.0.1", appliance.mqtt_port, name, own["username"], own["password"], will=will, keep_alive=60
            )
            devices[name] = await stack.enter_async_context(open_one)
            await devices[name].publish(f"tenant/{own['username']}/telemetry", b'{"t":1}')
        await devices["stays"].publish(f"tenant/{TENANT}/device/stays/status", b"offline")
        await devices["goes"].vanish()
        with trio.fail_after(PATIENCE):
            while (found := await trio.to_thread.run_sync(presences, appliance))["goes"] != "OFFLINE":
                await trio.sleep(0.2)
        assert found == {"stays": "ONLINE", "goes": "OFFLINE"}


def presences(appliance: ApplianceProcess) -> dict[str, str]:
    return dict(
        appliance.query(
            "SELECT d.device_id, presence_of(s, d.interval_seconds, w) FROM device_registry AS d"
            " LEFT JOIN device_state AS s USING (tenant_id, device_id)"
            " JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')"
        )
    )
