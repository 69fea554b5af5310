"""Alerts of a silent device over the whole appliance: its silence opens one, its next message closes it."""

from typing import Any

import trio
from mqtt5 import QoS

from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client

SETTINGS = {"APPLIANCE_PRESENCE_STALE_AFTER": "1", "APPLIANCE_PRESENCE_OFFLINE_AFTER": "2"}
PATIENCE = 40.0


async def becomes(appliance: ApplianceProcess, wanted: list[tuple[Any, ...]]) -> None:
    """Return once the alerts of the device are what is wanted: (status, close_reason) by age."""
    found: list[tuple[Any, ...]] = []
    with trio.move_on_after(PATIENCE):
        while found != wanted:
            await trio.sleep(0.1)
            query = "SELECT status, close_reason FROM fleet_alert WHERE alert_type = 'NO_HEARTBEAT' ORDER BY id"
            found = await trio.to_thread.run_sync(appliance.query, query)
        return
    raise AssertionError(f"wanted {wanted}, found {found}")


async def test_a_device_that_falls_silent_is_an_alert_until_it_is_heard(appliance: ApplianceProcess) -> None:
    appliance.start(**SETTINGS)
    async with client(appliance, "device") as connection:
        topic = f"tenant/{TENANT}/device/d-1/telemetry"
        await connection.publish(topic, b'{"t":1}', qos=QoS.AT_LEAST_ONCE)
        set_interval = "UPDATE device_registry SET interval_seconds = 0.2 RETURNING device_id"
        with trio.fail_after(PATIENCE):
            while not await trio.to_thread.run_sync(appliance.query, set_interval):
                await trio.sleep(0.05)
        await becomes(appliance, [("OPEN", None)])
        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                while True:
                    await connection.publish(topic, b'{"t":2}', qos=QoS.AT_LEAST_ONCE)
                    await trio.sleep(0.3)

            nursery.start_soon(talk)
            await becomes(appliance, [("CLOSED", "cleared")])
            nursery.cancel_scope.cancel()
