"""Wills of a real broker, early and late, and what they make of a device."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
import trio

from appliance.broker.connected_users import ConnectedUsers
from appliance.mqtt.client import Client
from tests.support.mosquitto_server import MosquittoServer
from tests.support.offline_statuses import Arranged, arranged
from tests.support.pipeline import Message, look, until
from tests.support.postgres_server import Database
from tests.support.small_device import SmallDevice, connected
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.real

USER = "acme/device/d-1"
USERS = {USER: "secret", "appliance": "private"}
TOPIC = f"tenant/{USER}/telemetry"
WILL = (f"tenant/{USER}/status", b"offline")
SEEN = "SELECT last_seen_at FROM device_state"


@asynccontextmanager
async def fed(server: MosquittoServer, ingest: Arranged) -> AsyncIterator[None]:
    """Feed what the broker hands out to the ingest stack."""

    async def forward(client: Client) -> None:
        async for message in client.messages():
            await ingest.send(Message(message.topic, message.payload))

    appliance = Client(server.host, server.port, username="appliance", password="private")
    async with appliance as client, trio.open_nursery() as nursery:
        await client.subscribe("tenant/+/device/+/+")
        nursery.start_soon(forward, client)
        yield
        nursery.cancel_scope.cancel()


def shown(server: MosquittoServer) -> ConnectedUsers:
    """Who is connected, as the broker's log shows it."""
    users = ConnectedUsers()
    for line in server.log().splitlines():
        users.heard(line)
    return users


def device(
    server: MosquittoServer, port: int, client_id: str, keep_alive: int = 60
) -> AbstractAsyncContextManager[SmallDevice]:
    return connected(server.host, port, client_id, USER, "secret", will=WILL, keep_alive=keep_alive)


async def becomes_offline(server: MosquittoServer, ingest: Arranged) -> bool:
    """Wait for a will, let its ten seconds pass, and return whether it counted."""
    await until(lambda: len(ingest.stack.offline_statuses) == 1)
    return await ingest.passes(10, shown(server).connected) == 1


async def test_the_will_of_a_dead_connection_does_not_make_a_device_offline_that_is_back(database: Database) -> None:
    with MosquittoServer(users=USERS, config=["log_timestamp false"]) as server:
        async with (
            tcp_proxy(server.host, server.port) as proxy,
            arranged(database) as ingest,
            fed(server, ingest),
            AsyncExitStack() as stack,
        ):
            first = await stack.enter_async_context(device(server, proxy.port, "esp-1", keep_alive=1))
            await first.publish(TOPIC, b'{"t":1}')
            await ingest.becomes("ONLINE")
            proxy.go_silent()
            second = await stack.enter_async_context(device(server, server.port, "esp-2"))
            await second.publish(TOPIC, b'{"t":2}')
            await until(lambda: look(database, "SELECT latest FROM device_state") == [({"t": 2},)])
            seen = look(database, SEEN)
            assert not await becomes_offline(server, ingest)
            assert "Client esp-1 has exceeded timeout, disconnecting." in server.log()
            await ingest.written()
            await ingest.becomes("ONLINE")
            assert look(database, SEEN) == seen
            await second.vanish()
            assert await becomes_offline(server, ingest)
            await ingest.becomes("OFFLINE")
            assert look(database, SEEN) == seen


async def test_a_device_that_takes_its_session_over_is_not_offline_although_its_will_comes(database: Database) -> None:
    with MosquittoServer(users=USERS, config=["log_timestamp false"]) as server:
        async with arranged(database) as ingest, fed(server, ingest), AsyncExitStack() as stack:
            first = await stack.enter_async_context(device(server, server.port, "esp"))
            await first.publish(TOPIC, b'{"t":1}')
            await ingest.becomes("ONLINE")
            second = await stack.enter_async_context(device(server, server.port, "esp"))
            assert not await becomes_offline(server, ingest)
            await second.vanish()
            assert await becomes_offline(server, ingest)
            await ingest.becomes("OFFLINE")
