"""Clients of an ejabberd, and what they receive."""

from typing import Any

import trio
from mqtt5 import PublishPacket

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.transport import Transport
from tests.support.ejabberd_server import ANYBODY, EjabberdServer

DEADLINE = 60.0
SESSION_SECONDS = 3600


def at(server: EjabberdServer, *, transport: Transport | None = None, **options: Any) -> Client:
    """Return a client of anybody; without a transport over TCP."""
    way = {"hostname": server.host, "port": server.port} if transport is None else {"transport": transport}
    return Client(**{**way, **ANYBODY, "backoff": Backoff(first=0.01, maximum=0.1), **options})


def durable(server: EjabberdServer, identifier: str, **options: Any) -> Client:
    """Return a client with a session that outlives its connections."""
    return at(server, identifier=identifier, **{"session_expiry_interval": SESSION_SECONDS, **options})


async def received(client: Client, count: int) -> list[PublishPacket]:
    """Return the next ``count`` messages, acknowledged."""
    packets: list[PublishPacket] = []
    batches = client.batches()
    with trio.fail_after(DEADLINE):
        while len(packets) < count:
            batch = await anext(batches)
            packets += batch.packets
            await client.acknowledge(batch)
    assert len(packets) == count
    return packets


async def payloads(client: Client, count: int) -> list[bytes]:
    """Return the payloads of the next ``count`` messages, acknowledged."""
    return [packet.payload for packet in await received(client, count)]
