"""What a client promises, against a real Mosquitto over every transport."""

import secrets
from contextlib import AsyncExitStack

import pytest
import trio
from mqtt5 import PublishPacket

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.transport import Tcp, Tls, Transport, WebSocket
from tests.mqtt.transport.conftest import Secured
from tests.support.mqtt.websocket_bridge import websocket_bridge
from tests.support.tcp_proxy import tcp_proxy

DEADLINE = 60.0
LARGE = 70_000
"""Bytes of a message that needs several writes, reads, and messages of a WebSocket."""


def client_over(transport: Transport, **options: object) -> Client:
    """Return a client that comes back at once."""
    return Client(transport=transport, backoff=Backoff(first=0.01, maximum=0.1), **options)  # type: ignore[arg-type]


async def received(client: Client, count: int) -> list[PublishPacket]:
    """Return the next messages, acknowledged."""
    found: list[PublishPacket] = []
    batches = client.batches()
    with trio.fail_after(DEADLINE):
        while len(found) < count:
            batch = await anext(batches)
            found += batch.packets
            await client.acknowledge(batch)
    return found


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_of_any_size_go_both_ways_in_order(transport: Transport, qos: int) -> None:
    topic = f"t/{secrets.token_hex(6)}"
    payloads = [b"", b"x", bytes(124), bytes(125), bytes(126), secrets.token_bytes(LARGE), b"last"]
    async with client_over(transport) as client:
        await client.subscribe(topic, max_qos=qos)
        for payload in payloads:
            await client.publish(topic, payload, qos=qos)
        assert [packet.payload for packet in await received(client, len(payloads))] == payloads


async def test_a_burst_comes_through_once_and_in_order(transport: Transport) -> None:
    topic = f"t/{secrets.token_hex(6)}"
    payloads = [b"%d" % number for number in range(2000)]
    async with client_over(transport) as client, trio.open_nursery() as nursery:
        await client.subscribe(topic)
        nursery.start_soon(client.publish_many, [(topic, payload) for payload in payloads])
        assert [packet.payload for packet in await received(client, len(payloads))] == payloads


async def test_a_resumed_session_brings_what_was_not_acknowledged(transport: Transport) -> None:
    topic, identifier = f"t/{secrets.token_hex(6)}", secrets.token_hex(8)
    async with client_over(transport) as publisher:
        async with client_over(transport, identifier=identifier, session_expiry_interval=600) as client:
            await client.subscribe(topic)
            await publisher.publish(topic, b"unacknowledged")
            assert (await anext(client.batches())).packets[0].payload == b"unacknowledged"
        await publisher.publish(topic, b"while we were away")
        async with client_over(transport, identifier=identifier, session_expiry_interval=600) as client:
            assert client.session_present
            found = await received(client, 2)
            assert [(packet.payload, packet.duplicate) for packet in found] == [
                (b"unacknowledged", True),
                (b"while we were away", False),
            ]


async def test_a_dropped_connection_is_made_anew(transport: Transport) -> None:
    topic = f"t/{secrets.token_hex(6)}"
    async with client_over(transport, identifier=secrets.token_hex(8), session_expiry_interval=600) as client:
        await client.subscribe(topic)
        for generation in range(1, 4):
            with trio.fail_after(DEADLINE):
                await client.ready()
            assert client.generation == generation
            await client.publish(topic, b"%d" % generation)
            assert (await received(client, 1))[0].payload == b"%d" % generation
            client.drop_connection()
            await client.disconnected()


async def test_a_connection_that_is_idle_stays_by_the_keep_alive_of_mqtt(transport: Transport) -> None:
    async with client_over(transport, keep_alive=1) as client:
        await trio.sleep(1.6)  # a broker ends a client after one and a half times its keep-alive
        assert client.generation == 1
        assert client.is_connected


@pytest.mark.parametrize("kind", ["tls", "ws"])
async def test_a_peer_that_falls_silent_is_found_by_the_keep_alive_of_mqtt(secured: Secured, kind: str) -> None:
    server = secured.server
    async with AsyncExitStack() as stack:
        port = server.tls_port if kind == "tls" else await stack.enter_async_context(websocket_bridge(server.port))
        proxy = await stack.enter_async_context(tcp_proxy(server.host, port))
        tcp = Tcp(server.host, proxy.port)
        transport: Transport = WebSocket(tcp, "b") if kind == "ws" else Tls(tcp, secured.files, "localhost")
        client = await stack.enter_async_context(client_over(transport, keep_alive=1))
        proxy.go_silent()
        with trio.fail_after(DEADLINE):
            assert "nothing heard" in (await client.disconnected()).detail
            await client.ready()
        assert proxy.connections == 2
