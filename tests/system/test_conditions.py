"""Alerts that no device's reading causes, over the whole appliance."""

from typing import Any

import trio
from mqtt5 import QoS

from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client

PATIENCE = 60.0
ALERTS = "SELECT alert_type, device_id, status, trigger_count FROM fleet_alert WHERE alert_type = 'MESSAGES_LOST'"
LIMITS = {"APPLIANCE_LIMITS_RATE": "0.01", "APPLIANCE_LIMITS_BURST": "5", "APPLIANCE_LIMITS_BACKLOG": "0"}


async def becomes(appliance: ApplianceProcess, wanted: list[tuple[Any, ...]]) -> None:
    """Return once the alerts are what is wanted."""
    with trio.move_on_after(PATIENCE):
        while await trio.to_thread.run_sync(appliance.query, ALERTS) != wanted:
            await trio.sleep(0.1)
        return
    raise AssertionError(appliance.query(ALERTS))


async def test_a_device_that_is_noisy_past_its_limit_is_one_alert_with_the_count(appliance: ApplianceProcess) -> None:
    appliance.start(**LIMITS)
    async with client(appliance, "devices") as connection:
        for device, messages in (("quiet", 3), ("noisy", 45)):
            for number in range(messages):
                topic = f"tenant/{TENANT}/device/{device}/telemetry"
                await connection.publish(topic, b'{"t": %d}' % number, qos=QoS.AT_LEAST_ONCE)
    await becomes(appliance, [("MESSAGES_LOST", "noisy", "OPEN", 40)])
