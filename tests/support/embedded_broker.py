"""The appliance's own Mosquitto without the rest of the appliance: one device, and the session of the appliance."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from appliance.broker.accounts import hash_password
from appliance.broker.clients import SUBSCRIPTION
from appliance.children.data_dir import DataDir, open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits, Users
from appliance.clock import SystemClock
from appliance.mqtt.client import Client

DEVICE: Final = "acme/device/d1"
"""The user name of the device."""
PASSWORD: Final = "a device's password"
TOPIC: Final = f"tenant/{DEVICE}/telemetry"


def user(password: str) -> Users:
    """Return the users of a broker that knows the device by ``password``."""
    return Users(f"{DEVICE}:{hash_password(password)}\n")


USERS: Final = user(PASSWORD)


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """A broker with its device listener open."""

    mosquitto: Mosquitto
    files: Path
    """The folder of its configuration, passwords and ACL."""
    session: Client
    """The appliance's, connected and subscribed."""


def broker(data_dir: DataDir, **options: object) -> Mosquitto:
    """Return a broker on free ports of loopback that knows the device; ``options`` take the place of its own."""
    given: dict[str, object] = {"host": "127.0.0.1", "port": 0, "subscription": SUBSCRIPTION, "users": USERS}
    given |= {"limits": BrokerLimits(), "clock": SystemClock()}
    return Mosquitto(data_dir, **(given | options))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(mosquitto: Mosquitto) -> AsyncIterator[Mosquitto]:
    """Run a broker for the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(mosquitto.run)
        yield mosquitto
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def open_broker(folder: Path, **options: object) -> AsyncIterator[OpenBroker]:
    """Run a broker with data below ``folder`` for the block, its device listener open."""
    with open_data_dir(folder / "data") as data_dir:
        async with (
            running(broker(data_dir, **options)) as mosquitto,
            own_session(mosquitto, data_dir.instance.mqtt_client_id) as session,
        ):
            await session.subscribe(SUBSCRIPTION)
            assert await mosquitto.open_devices()
            await session.ready()
            yield OpenBroker(mosquitto, data_dir.path / "mosquitto", session)


def own_session(mosquitto: Mosquitto, identifier: str | None = None) -> Client:
    """Return a client with the rights of the appliance; with an identifier, its session outlives the connection."""
    endpoint = mosquitto.endpoint
    return Client(
        unix_socket=str(endpoint.socket),
        username=endpoint.username,
        password=endpoint.password,
        identifier=identifier,
        session_expiry_interval=0 if identifier is None else 1000,
        keep_trying=True,
    )
