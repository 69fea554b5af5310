"""The gate of the device listener, against our own Mosquitto."""

import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.broker import listener_gate
from appliance.children import mosquitto_program
from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits
from appliance.clock import SystemClock
from appliance.mqtt.client import Client

pytestmark = pytest.mark.real

SUBSCRIPTION = "tenant/+/device/+/+"
PATIENCE_SECONDS = 60.0
SLOW_SECONDS = 0.5
"""The keeper looks so seldom whether the broker serves that our client is back before it."""


async def test_devices_that_came_back_after_a_clean_end_of_the_broker_are_not_dropped_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []

    def heard(line: str) -> None:
        if line.endswith(" starting"):
            starts.append(line)

    with open_data_dir(folder / "data") as data_dir:
        mosquitto = Mosquitto(
            data_dir,
            host="127.0.0.1",
            port=0,
            subscription=SUBSCRIPTION,
            limits=BrokerLimits(),
            clock=SystemClock(),
            on_line=heard,
        )
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(mosquitto.run)
            session = Client(
                unix_socket=str(endpoint.socket),
                username=endpoint.username,
                password=endpoint.password,
                identifier=data_dir.instance.mqtt_client_id,
                session_expiry_interval=1000,
                keep_trying=True,
            )
            async with session:
                await session.subscribe(SUBSCRIPTION)
                await nursery.start(listener_gate.keep_gate, session, mosquitto)
                await session.ready()
                assert len(starts) == 2, "once without devices, once with them"
                monkeypatch.setattr(mosquitto_program, "POLL_SECONDS", SLOW_SECONDS)
                assert mosquitto.status.pid is not None
                os.kill(mosquitto.status.pid, signal.SIGTERM)
                with trio.fail_after(PATIENCE_SECONDS):
                    await session.disconnected()
                    await session.ready()
                    assert not mosquitto.ready.is_set()
                    await mosquitto.ready.wait()
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    assert mosquitto.devices_open
                assert len(starts) == 3
                nursery.cancel_scope.cancel()
