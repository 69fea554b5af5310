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

CUTS = 20
BYTES = 4_000
"""That a connection passes on average, some tens of messages."""
DEADLINE = 120.0


async def test_connections_that_are_cut_at_any_byte_lose_no_message_and_double_none_of_qos_2(
    mosquitto: MosquittoServer,
) -> None:
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
            async for batch in client.batches(maximum=chance.choice((1, 4096))):
                found.update(packet.payload for packet in batch.packets)
                await client.acknowledge(batch)

        async def publish(client: Client, qos: int) -> None:
            nonlocal published
            numbers = range(published, published + 10)
            published += 10
            await client.publish_many([(f"{prefix}/x", b"%d of %d" % (number, qos)) for number in numbers], qos=qos)

        async with through_the_proxy("in") as consumer, through_the_proxy("out") as publisher:
            await consumer.subscribe(f"{prefix}/#", max_qos=2)
            proxy.lifetime = lambda: chance.randint(1, 2 * BYTES)
            consumer.drop_connection()
            publisher.drop_connection()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume, consumer)
                with trio.fail_after(DEADLINE):
                    while proxy.connections < times(CUTS) + 4:
                        async with trio.open_nursery() as both:
                            both.start_soon(publish, publisher, 1)
                            both.start_soon(publish, publisher, 2)
                    proxy.lifetime = lambda: 1 << 40
                    while len(found) < published:
                        await trio.sleep(0.01)
                assert not publisher._session.packet_ids.in_use, f"seed {seed}"
                nursery.cancel_scope.cancel()
    assert len(found) == published, f"seed {seed}"
    doubled = [payload for payload, count in found.items() if payload.endswith(b"2") and count > 1]
    assert doubled == [], f"seed {seed}"


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
