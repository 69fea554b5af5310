"""The probe of the device listener, against our own Mosquitto: what devices meet there is found."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from mqtt5 import QoS
from structlog.testing import capture_logs

from appliance.broker.accounts import PROBE_TOPIC
from appliance.broker.clients import probe_clients
from appliance.broker.listener_probe import ListenerProbe
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import ACL, PASSWORDS
from appliance.children.polling import until
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from tests.support.embedded_broker import DEVICE, PASSWORD, open_broker, own_session

pytestmark = pytest.mark.real

INTERVAL = 0.05
PATIENCE_SECONDS = 60.0


@contextlib.asynccontextmanager
async def probing(mosquitto: Mosquitto) -> AsyncIterator[ListenerProbe]:
    probe = ListenerProbe(probe_clients(mosquitto, "127.0.0.1"), own_session(mosquitto), INTERVAL)
    async with trio.open_nursery() as nursery:
        await nursery.start(probe.run)
        yield probe
        nursery.cancel_scope.cancel()


async def becomes(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        await until(condition, period=0.01)


async def spoil(mosquitto: Mosquitto, path: Path, text: str) -> None:
    """Replace one of the broker's files behind its back, and make it read them."""
    os.truncate(path, 0)
    path.write_text(text)
    assert await mosquitto.reload()


async def test_it_is_well_while_devices_can_publish(folder: Path) -> None:
    async with open_broker(folder) as broker, probing(broker.mosquitto) as probe:
        with capture_logs() as logs:
            await becomes(lambda: probe.arrived >= 3)
        assert probe.trouble is None
    assert [entry for entry in logs if entry["log_level"] != "debug"] == [], "it comes every few seconds, for years"


async def test_a_broker_that_refuses_every_device_is_found_and_so_is_its_end(folder: Path) -> None:
    async with open_broker(folder) as broker, probing(broker.mosquitto) as probe:
        good = (broker.files / PASSWORDS).read_text()
        private = good.splitlines()[0]
        await spoil(broker.mosquitto, broker.files / PASSWORDS, f"{private}\n")
        await becomes(lambda: "devices cannot connect" in (probe.trouble or ""))
        await spoil(broker.mosquitto, broker.files / PASSWORDS, good)
        await becomes(lambda: probe.trouble is None)


async def test_an_acl_that_lets_nothing_through_is_found(folder: Path) -> None:
    async with open_broker(folder) as broker, probing(broker.mosquitto) as probe:
        text = (broker.files / ACL).read_text()
        await spoil(
            broker.mosquitto, broker.files / ACL, text.replace(f"topic write {PROBE_TOPIC}", "topic write nothing")
        )
        await becomes(lambda: "the broker refuses what devices publish" in (probe.trouble or ""))


async def test_a_closed_listener_is_found(folder: Path) -> None:
    async with open_broker(folder) as broker, probing(broker.mosquitto) as probe:
        await broker.mosquitto.close_devices()
        await becomes(lambda: "devices cannot connect" in (probe.trouble or ""))


async def test_no_device_may_publish_to_the_topic_of_the_probe(folder: Path) -> None:
    async with open_broker(folder) as broker:
        device = Client("127.0.0.1", broker.mosquitto.devices.port, username=DEVICE, password=PASSWORD)
        async with device as client:
            with pytest.raises(NegativeAckError):
                await client.publish(PROBE_TOPIC, b"999", qos=QoS.AT_LEAST_ONCE)
