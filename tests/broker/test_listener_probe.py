"""The probe of the device listener, against our own Mosquitto: what devices meet there is found."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from mqtt5 import QoS
from structlog.testing import capture_logs

from appliance.broker.accounts import PROBE_TOPIC, hash_password
from appliance.broker.clients import probe_clients
from appliance.broker.listener_probe import ListenerProbe
from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import ACL, PASSWORDS, BrokerLimits, Users
from appliance.children.polling import until
from appliance.clock import SystemClock
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError

pytestmark = pytest.mark.real

SUBSCRIPTION = "tenant/+/device/+/+"
DEVICE, PASSWORD = "acme/device/d1", "a device's password"
USERS = Users(f"{DEVICE}:{hash_password(PASSWORD)}\n")
INTERVAL = 0.05
PATIENCE_SECONDS = 60.0


def ours(mosquitto: Mosquitto, identifier: str | None = None) -> Client:
    endpoint = mosquitto.endpoint
    return Client(
        unix_socket=str(endpoint.socket),
        username=endpoint.username,
        password=endpoint.password,
        identifier=identifier,
        session_expiry_interval=0 if identifier is None else 1000,
        keep_trying=True,
    )


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Mosquitto, Path]]:
    """A broker with its device listener open, and the folder of its files."""
    with open_data_dir(folder / "data") as data_dir:
        mosquitto = Mosquitto(
            data_dir,
            host="127.0.0.1",
            port=0,
            subscription=SUBSCRIPTION,
            users=USERS,
            limits=BrokerLimits(),
            clock=SystemClock(),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(mosquitto.run)
            async with ours(mosquitto, data_dir.instance.mqtt_client_id) as session:
                await session.subscribe(SUBSCRIPTION)
            assert await mosquitto.open_devices()
            yield mosquitto, data_dir.path / "mosquitto"
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def probing(mosquitto: Mosquitto) -> AsyncIterator[ListenerProbe]:
    probe = ListenerProbe(probe_clients(mosquitto, "127.0.0.1"), ours(mosquitto), INTERVAL)
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
    async with serving(folder) as (mosquitto, _), probing(mosquitto) as probe:
        with capture_logs() as logs:
            await becomes(lambda: probe.arrived >= 3)
        assert probe.trouble is None
    assert [entry for entry in logs if entry["log_level"] != "debug"] == [], "it comes every few seconds, for years"


async def test_a_broker_that_refuses_every_device_is_found_and_so_is_its_end(folder: Path) -> None:
    async with serving(folder) as (mosquitto, files), probing(mosquitto) as probe:
        good = (files / PASSWORDS).read_text()
        private = good.splitlines()[0]
        await spoil(mosquitto, files / PASSWORDS, f"{private}\n")
        await becomes(lambda: "devices cannot connect" in (probe.trouble or ""))
        await spoil(mosquitto, files / PASSWORDS, good)
        await becomes(lambda: probe.trouble is None)


async def test_an_acl_that_lets_nothing_through_is_found(folder: Path) -> None:
    async with serving(folder) as (mosquitto, files), probing(mosquitto) as probe:
        text = (files / ACL).read_text()
        await spoil(mosquitto, files / ACL, text.replace(f"topic write {PROBE_TOPIC}", "topic write nothing"))
        await becomes(lambda: "the broker refuses what devices publish" in (probe.trouble or ""))


async def test_a_closed_listener_is_found(folder: Path) -> None:
    async with serving(folder) as (mosquitto, _), probing(mosquitto) as probe:
        await mosquitto.close_devices()
        await becomes(lambda: "devices cannot connect" in (probe.trouble or ""))


async def test_no_device_may_publish_to_the_topic_of_the_probe(folder: Path) -> None:
    async with serving(folder) as (mosquitto, _):
        device = Client("127.0.0.1", mosquitto.devices.port, username=DEVICE, password=PASSWORD)
        async with device as client:
            with pytest.raises(NegativeAckError):
                await client.publish(PROBE_TOPIC, b"999", qos=QoS.AT_LEAST_ONCE)
