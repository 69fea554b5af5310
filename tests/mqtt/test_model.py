"""The claim that QoS 1 is at least once in both directions, whatever breaks and whoever gives up, at random."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import random
import secrets
from collections import Counter

import trio
from trio.testing import MockClock

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from tests.support.mqtt.model_broker import ModelBroker
from tests.support.mqtt.scripted_client import StandingClock
from tests.support.soak import times

PUBLISHERS = 3
MESSAGES = 12
"""Of each publisher, and three times as many to the client."""
CONSUMERS = 3
"""So that messages are done in another order than that of their arrival."""
LOSSY_SECONDS = 40


async def play(seed: int) -> int:
    """Play one schedule; return how often the connection broke."""
    chance = random.Random(seed)
    broker = ModelBroker(chance, PUBLISHERS * MESSAGES)
    delivered: set[bytes] = set()  # what publish returned for
    found: Counter[bytes] = Counter()
    client = Client(
        transport=broker,
        identifier="model",
        session_expiry_interval=3600,
        keep_trying=True,
        keep_alive=5,
        receive_max=chance.choice((3, 5, 50)),
        backoff=Backoff(first=0.1, maximum=1, jitter=0),
        clock=StandingClock(),
    )

    async def publish(name: int) -> None:
        for number in range(MESSAGES):
            payload = b"up %d %d" % (name, number)
            patience = chance.choice((0, 0.01, 0.2, 1000, 1000))
            with trio.move_on_after(patience):
                await client.publish("t", payload)
                delivered.add(payload)
            await trio.sleep(chance.choice((0, 0.1, 1)))

    async def consume() -> None:
        async for message in client.messages():
            found[message.payload] += 1
            await trio.sleep(chance.choice((0, 0, 0.1, 1)))
            broker.settled.add(message.payload)
            with trio.move_on_after(chance.choice((0, 10))):
                await client.puback(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.run)
        async with client:
            for _ in range(CONSUMERS):
                nursery.start_soon(consume)
            async with trio.open_nursery() as publishers:
                for name in range(PUBLISHERS):
                    publishers.start_soon(publish, name)
                await trio.sleep(LOSSY_SECONDS)
                broker.heal()
                client.drop_connection()
            with trio.fail_after(300):
                while not broker.done or client.statistics().unacknowledged:
                    await trio.sleep(1)
            assert not client._session._ids.in_use
            assert not client._connection.receipts._open
        nursery.cancel_scope.cancel()
    assert delivered <= broker.received.keys(), "published is received"
    assert found.keys() == {b"down %d" % number for number in range(PUBLISHERS * MESSAGES)}
    return broker.connections


async def test_whatever_breaks_each_message_comes_at_least_once_in_both_directions(autojump_clock: MockClock) -> None:
    first = secrets.randbits(32)
    connections = 0
    for seed in range(first, first + times(10)):
        try:
            connections += await play(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert connections > times(10) * 3, "they break"
