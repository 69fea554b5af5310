"""The claim that connections to a real Mosquitto may be cut at any byte, in both directions, and nothing is lost."""

import gc
import os
import random
import secrets
from collections import Counter
from pathlib import Path

import trio

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.nth_checkpoint import cancelled_at
from tests.support.soak import times
from tests.support.tcp_proxy import tcp_proxy

CUTS = 50
BYTES = 4_000
"""That a connection passes on average, some tens of messages."""
DEADLINE = 120.0


async def test_connections_that_are_cut_at_any_byte_lose_no_message_of_qos_1(mosquitto: MosquittoServer) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    prefix = f"test/{secrets.token_hex(6)}"
    found: Counter[bytes] = Counter()
    published = 0
    async with tcp_proxy(mosquitto.host, mosquitto.port) as proxy:

        def through_the_proxy(name: str) -> Client:
            return Client(
                mosquitto.host,
                proxy.port,
                identifier=f"{prefix}/{name}",
                session_expiry_interval=600,
                keep_trying=True,
                backoff=Backoff(first=0.01, maximum=0.02),
            )

        async def consume(client: Client) -> None:
            async for batch in client.batches():
                found.update(packet.payload for packet in batch.packets)
                await client.acknowledge(batch)

        async with through_the_proxy("in") as consumer, through_the_proxy("out") as publisher:
            await consumer.subscribe(f"{prefix}/#")
            proxy.lifetime = lambda: chance.randint(1, 2 * BYTES)
            consumer.drop_connection()
            publisher.drop_connection()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume, consumer)
                with trio.fail_after(DEADLINE):
                    while proxy.connections < times(CUTS) + 4:
                        await publisher.publish_many(
                            (f"{prefix}/x", b"%d" % number) for number in range(published, published + 20)
                        )
                        published += 20
                    proxy.lifetime = lambda: 1 << 40
                    while len(found) < published:
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    assert found.keys() == {b"%d" % number for number in range(published)}, f"seed {seed}"


async def test_a_client_that_is_cancelled_while_it_comes_or_goes_leaves_no_socket(mosquitto: MosquittoServer) -> None:
    async def come_and_go() -> None:
        async with Client(mosquitto.host, mosquitto.port) as client:
            await client.publish(f"test/{client.identifier}", b"x")

    await come_and_go()
    gc.collect()  # what earlier tests left open
    before = _descriptors()
    for number in range(1, 1000):
        if not await cancelled_at(number, come_and_go):
            break
        assert _descriptors() <= before, number
    assert number > 10


def _descriptors() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))
