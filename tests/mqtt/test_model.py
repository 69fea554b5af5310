"""The claims of QoS 1 and 2 in both directions, whatever breaks and whoever gives up, at random.

QoS 1: at least once. QoS 2: exactly once while the session lives, and never twice. Order as in MQTT 5 §4.6.
"""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import math
import random
import secrets
from collections import Counter

import pytest
import trio
from mqtt5 import QoS
from trio.testing import MockClock

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError, SessionLostError
from appliance.mqtt.inbox import Message
from tests.support.mqtt.memory_journal import MemoryJournal
from tests.support.mqtt.model_broker import ModelBroker
from tests.support.mqtt.scripted_client import StandingClock
from tests.support.soak import times

PUBLISHERS = 3
MESSAGES = 12
"""Of each publisher, and three times as many to the client."""
CONSUMERS = 3
"""So that messages are done in another order than that of their arrival."""
LOSSY_SECONDS = 40


class Play:
    """One schedule. ``delivered`` is what publish returned for, ``found`` what was handed out."""

    def __init__(self, seed: int, losses: float) -> None:
        self.chance = chance = random.Random(seed)
        self.journal = MemoryJournal()
        self.broker = ModelBroker(chance, self.journal, PUBLISHERS * MESSAGES, losses=losses)
        self.delivered: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.in_doubt: set[bytes] = set()
        self.given_up: set[bytes] = set()
        self.found: Counter[bytes] = Counter()
        self.qos: dict[bytes, QoS] = {}
        self._left: list[Message] = []  # by consumers that were cancelled, for the others
        self.client = Client(
            transport=self.broker,
            identifier="model",
            session_expiry_interval=3600,
            keep_trying=True,
            keep_alive=5,
            receive_max=chance.choice((1, 3, 5, 50)),
            topic_alias_max=chance.choice((0, 2)),
            backoff=Backoff(first=0.1, maximum=1, jitter=0),
            clock=StandingClock(),
            journal=self.journal,
        )

    async def run(self) -> None:
        """Play it to its end, and check what came of it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.broker.run)
            async with self.client:
                for _ in range(CONSUMERS):
                    nursery.start_soon(self.consume)
                async with trio.open_nursery() as publishers:
                    for name in range(PUBLISHERS):
                        publishers.start_soon(self.publish, name)
                    await trio.sleep(LOSSY_SECONDS)
                    self.broker.heal()
                    self.client.drop_connection()
                with trio.fail_after(300):
                    while not self.broker.done or self.client.statistics().unacknowledged:
                        await trio.sleep(1)
                self.check()
                nursery.cancel_scope.cancel()

    async def publish(self, name: int) -> None:
        chance = self.chance
        for number in range(MESSAGES):
            payload = b"up %d %d" % (name, number)
            qos = self.qos[payload] = chance.choice((QoS.AT_LEAST_ONCE, QoS.EXACTLY_ONCE))
            losses = self.broker.losses
            with trio.move_on_after(chance.choice((0, 0.01, 0.2, 1000, 1000))) as patience:
                try:
                    await self.client.publish("t", payload, qos=qos)
                    self.delivered.add(payload)
                except NegativeAckError:
                    self.refused.add(payload)
                except SessionLostError:
                    assert self.broker.losses > losses, "no session was lost"
                    assert qos == QoS.EXACTLY_ONCE
                    self.in_doubt.add(payload)
            if patience.cancelled_caught:
                self.given_up.add(payload)
            await trio.sleep(chance.choice((0, 0.1, 1)))

    async def consume(self) -> None:
        chance, broker, client = self.chance, self.broker, self.client
        while True:
            message: Message | None = None
            with trio.move_on_after(chance.choice((0, 0.5, 5, math.inf)) if broker.lossy else math.inf):
                if self._left:
                    message = self._left.pop()
                else:
                    message = await anext(client.messages())
                    self.found[message.payload] += 1
                    assert message.topic == f"t{int(message.payload.split()[1]) % 3}", "the topic of its alias"
                await trio.sleep(chance.choice((0, 0, 0.1, 1)))
                broker.settled.add(message.payload)
                with trio.move_on_after(chance.choice((0, 10))):
                    await client.puback(message)
                message = None
            if message is not None:
                self._left.append(message)

    def check(self) -> None:
        """Nothing is in use, and each message came as often as its QoS says."""
        client, broker = self.client, self.broker
        assert not client._session.packet_ids.in_use
        assert not client._connection.receipts._open
        assert (self.journal.outgoing, self.journal.ids) == ({}, set())
        exactly = {payload for payload, qos in self.qos.items() if qos == QoS.EXACTLY_ONCE}
        received = broker.received
        assert self.delivered <= received.keys(), "published is received"
        assert self.refused <= broker.refused
        assert self.delivered | self.refused | self.in_doubt | self.given_up == self.qos.keys()
        assert all(received[payload] <= 1 for payload in exactly), "never twice"
        assert not any(received[payload] for payload in exactly & self.refused), "refused is refused"
        sent = {b"down %d" % number for number in range(PUBLISHERS * MESSAGES)}
        assert sent - broker.lost <= self.found.keys() <= sent
        once = {payload: self.found[payload] for payload in sent if self.kind(payload) == QoS.EXACTLY_ONCE}
        assert max(once.values(), default=0) <= 1, "never handed out twice"

    def kind(self, payload: bytes) -> QoS:
        return self.broker.kinds[payload]


@pytest.mark.parametrize("losses", [0.0, 0.3])
async def test_whatever_breaks_each_message_comes_as_often_as_its_qos_says_in_both_directions(
    autojump_clock: MockClock, losses: float
) -> None:
    first = secrets.randbits(32)
    connections = 0
    for seed in range(first, first + times(8)):
        play = Play(seed, losses)
        try:
            await play.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        connections += play.broker.connections
    assert connections > times(8) * 3, "they break"
