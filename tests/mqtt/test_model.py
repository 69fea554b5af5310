"""The claims of QoS 1 and 2 in both directions, whatever breaks and whoever gives up, at random.

QoS 1: at least once. QoS 2: exactly once while the session lives, and never twice. Order as in MQTT 5 §4.6.
"""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import math
import random
import secrets
from collections import Counter, deque

import pytest
import trio
from mqtt5 import PubAckPacket, PubCompPacket, PublishPacket, PubRecPacket, PubRecReasonCode, PubRelPacket, QoS
from trio.testing import MockClock

from appliance.backoff import Backoff
from appliance.mqtt import inflight
from appliance.mqtt.client import Client
from appliance.mqtt.connection import Connection
from appliance.mqtt.errors import DisconnectedError, NegativeAckError, SessionLostError
from appliance.mqtt.events import Connected, PubAcks, PubComps, Publishes, PubRecs, PubRels
from appliance.mqtt.exchanges import ExchangeState
from appliance.mqtt.inbox import Message
from appliance.mqtt.terms import refuses
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
FEW_IDS = 7
"""Packet ids of the client, so that each is used again soon: 0, as many as the broker takes at once, and one more."""
REASONS = (PubRecReasonCode.QUOTA_EXCEEDED, PubRecReasonCode.NO_MATCHING_SUBSCRIBERS)


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
        self.declined: set[bytes] = set()  # by our consumers: the broker may not hear of it, and send it again
        self.qos: dict[bytes, QoS] = {}
        self.to_publish = [
            deque(b"up %d %d" % (name, number) for number in range(MESSAGES)) for name in range(PUBLISHERS)
        ]
        self._left: list[Message] = []  # by consumers that were cancelled, for the others
        self.client = self.new_client()

    def new_client(self, **options: object) -> Client:
        """Return the client of the play."""
        return Client(
            transport=self.broker,
            identifier="model",
            session_expiry_interval=3600,
            keep_trying=True,
            keep_alive=5,
            receive_max=self.chance.choice((1, 3, 5, 50)),
            topic_alias_max=self.chance.choice((0, 2)),
            backoff=Backoff(first=0.1, maximum=1, jitter=0),
            clock=StandingClock(),
            journal=self.journal,
            **options,  # type: ignore[arg-type]
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
        while self.to_publish[name]:
            payload = self.to_publish[name].popleft()
            qos = self.qos[payload] = chance.choice((QoS.AT_LEAST_ONCE, QoS.EXACTLY_ONCE))
            losses = self.broker.losses
            with trio.move_on_after(chance.choice((0, 0.01, 0.2, 1000, 1000))):
                try:
                    await self.client.publish("t", payload, qos=qos)
                    self.delivered.add(payload)
                except NegativeAckError:
                    self.refused.add(payload)
                except (trio.Cancelled, DisconnectedError):
                    self.given_up.add(payload)
                    raise
                except SessionLostError:
                    assert self.broker.losses > losses, "no session was lost"
                    assert qos == QoS.EXACTLY_ONCE
                    self.in_doubt.add(payload)
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
                    assert message.payload not in broker.answered, "handed out again"
                    assert message.topic == f"t{int(message.payload.split()[1]) % 3}", "the topic of its alias"
                await trio.sleep(chance.choice((0, 0, 0.1, 1, 4)))
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
        self.check_exactly_once()

    def check_exactly_once(self) -> None:
        """No message of QoS 2 was handed out twice."""
        exact = {payload for payload, qos in self.broker.kinds.items() if qos == QoS.EXACTLY_ONCE}
        assert all(self.found[payload] <= 1 for payload in exact - self.declined)


class CrashPlay(Play):
    """The same with a process that crashes some times, and goes on by its journal."""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.broker.run)
            for _ in range(self.chance.randint(1, 4)):
                with trio.CancelScope() as process:
                    async with self.client, trio.open_nursery() as tasks:
                        self._begin(tasks)
                        await trio.sleep(self.chance.uniform(0, 10))
                        await self.broker.cut()
                        process.cancel()
                self._left.clear()
                self.client = self.new_client()
            self.broker.heal()
            async with self.client, trio.open_nursery() as tasks:
                self._begin(tasks)
                with trio.fail_after(300):
                    while any(self.to_publish) or not self.broker.done or self.client.statistics().unacknowledged:
                        await trio.sleep(1)
                await trio.sleep(5)  # whoever had published has been told
                self.check()
                tasks.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def _begin(self, tasks: trio.Nursery) -> None:
        for _ in range(CONSUMERS):
            tasks.start_soon(self.consume)
        for name in range(PUBLISHERS):
            tasks.start_soon(self.publish, name)

    def check_exactly_once(self) -> None:
        """What was handed out and not acknowledged before a crash may come again."""
        taken = self.journal.places.keys() - self.refused - self.in_doubt - self.broker.refused
        if not self.broker.losses:
            assert {payload for payload in taken if not self.broker.received[payload]} == set(), "the journal goes on"


class ManualPlay(Play):
    """The same with a caller that takes each step of an exchange by itself (``Settings.manual``)."""

    def new_client(self, **options: object) -> Client:
        self._arrivals, self._arrived = trio.open_memory_channel[tuple[int, int, PublishPacket]](1000)
        self._releases, self._released = trio.open_memory_channel[int](1000)  # ids that PUBREC has answered, in order
        self._completions, self._completed = trio.open_memory_channel[tuple[int, int]](1000)
        self._begun = False
        self.answered: set[bytes] = set()
        self._waiting: dict[int, trio.Event] = {}  # publishers, by packet id
        self._answers: dict[int, PubAckPacket | PubRecPacket | PubCompPacket | str] = {}
        return super().new_client(manual=self, **options)

    def attach(self, connection: Connection) -> None:
        self.connection = connection

    def on_publishes(self, event: Publishes) -> None:
        number = event.first
        for packet in event.packets:
            self._arrivals.send_nowait((self.connection.session.generation, number, packet))
            number += packet.packet_id is not None

    def on_pubrels(self, event: PubRels) -> None:
        for packet in event.packets:
            self._completions.send_nowait((self.connection.session.generation, packet.packet_id))

    def on_acks(self, event: PubAcks | PubRecs | PubComps) -> None:
        for packet in event.packets:
            if isinstance(packet, PubRecPacket) and not refuses(packet.reason_code):
                self._releases.send_nowait(packet.packet_id)
            else:
                self._end(packet.packet_id, packet)

    def on_connected(self, event: Connected) -> None:
        for packet_id in event.resumption.in_doubt:
            self._end(packet_id, "in doubt")
        for packet_id in event.resumption.arrived:
            self._end(packet_id, "arrived")

    def on_lost(self) -> None:
        pass

    def _end(self, packet_id: int, answer: PubAckPacket | PubRecPacket | PubCompPacket | str) -> None:
        self._answers[packet_id] = answer
        self._waiting.pop(packet_id).set()

    async def publish(self, name: int) -> None:
        connection = self.connection
        for number in range(MESSAGES):
            payload = b"up %d %d" % (name, number)
            qos = self.qos[payload] = self.chance.choice((QoS.AT_LEAST_ONCE, QoS.EXACTLY_ONCE))
            while not connection.up or connection.session.room <= 0:
                await connection.progress.park()
            packet_id = connection.session.publish("t", payload, qos, retain=False)
            done = self._waiting[packet_id] = trio.Event()
            connection.wake()
            await done.wait()
            match self._answers.pop(packet_id):
                case "in doubt":
                    self.in_doubt.add(payload)
                case PubAckPacket() | PubRecPacket() as answer if refuses(answer.reason_code):
                    self.refused.add(payload)
                case _:
                    self.delivered.add(payload)
            await trio.sleep(self.chance.choice((0, 0.1, 1)))

    async def release(self) -> None:
        """Send PUBRELs, each some time after its PUBREC, in their order."""
        connection = self.connection
        async for packet_id in self._released:
            await trio.sleep(self.chance.choice((0, 0, 0.1, 1)))
            while not connection.up:
                await connection.progress.park()
            if connection.session.outgoing.stage(packet_id) is ExchangeState.RECEIVED:
                connection.session.pubrel(PubRelPacket(packet_id))
                connection.wake()

    async def complete(self) -> None:
        """Answer PUBRELs of this connection."""
        session = self.connection.session
        async for generation, packet_id in self._completed:
            await trio.sleep(self.chance.choice((0, 0, 0.1, 1)))
            if self.connection.up and generation == session.generation:
                session.pubcomp(PubCompPacket(packet_id))
                self.connection.wake()

    async def consume(self) -> None:
        session = self.connection.session
        async with trio.open_nursery() as nursery:
            if not self._begun:
                self._begun = True
                nursery.start_soon(self.release)
                nursery.start_soon(self.complete)
            async for generation, number, packet in self._arrived.clone():
                if generation != session.generation or not self.connection.up:
                    continue  # it comes again
                self.found[packet.payload] += 1
                assert packet.payload not in self.answered, "handed out again"
                await trio.sleep(self.chance.choice((0, 0, 0.1, 1)))
                self.broker.settled.add(packet.payload)
                if packet.qos == QoS.EXACTLY_ONCE and self.chance.random() < 0.2:
                    code = self.chance.choice(REASONS)
                    if refuses(code):
                        self.declined.add(packet.payload)
                    session.answer(generation, number, PubRecPacket(packet.packet_id or 0, reason_code=code))
                exact = packet.qos == QoS.EXACTLY_ONCE and packet.payload not in self.declined
                if exact and generation == session.generation and self.connection.up:
                    self.answered.add(packet.payload)
                session.acknowledge(generation, number, 1)
                self.connection.wake()

    def check_exactly_once(self) -> None:
        """What was answered did not come again; what was not, before its connection was lost, may."""


@pytest.mark.parametrize("kind", [Play, ManualPlay, CrashPlay])
@pytest.mark.parametrize("losses", [0.0, 0.3])
async def test_whatever_breaks_each_message_comes_as_often_as_its_qos_says_in_both_directions(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, losses: float, kind: type[Play]
) -> None:
    monkeypatch.setattr(inflight, "FEW_IDS", FEW_IDS)
    monkeypatch.setattr(inflight, "LAST_PACKET_ID", FEW_IDS - 1)
    first = secrets.randbits(32)
    connections = 0
    for seed in range(first, first + times(4)):
        play = kind(seed, losses)
        try:
            await play.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        connections += play.broker.connections
    assert connections > times(4) * 3, "they break"
