"""Exchanges that a program runs by hand: it chooses packet ids, sends each answer, and waits for no connection.

Enters: calls for the connection of this moment, and what the broker sends. Leaves: the broker's answers as packets, its
messages and PUBRELs in the order of arrival. Never: a call that outlives its connection.

Theory. The session keeps what is under way over connections, and sends it again. Here is what its callers know of it:
an ``Exchange`` by packet id, with the answers that came, from PUBLISH until a caller has had the last one. A call whose
connection is lost, or that is cancelled, leaves its exchange here; the call that repeats it (PUBLISH with DUP, PUBREL)
joins it: it waits for the same answer, or gets it at once if it came meanwhile, and sends nothing.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import trio
from mqtt5 import (
    ConnAckPacket,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    QoS,
)

from appliance.mqtt import topics
from appliance.mqtt.connection import Connection
from appliance.mqtt.errors import DisconnectedError
from appliance.mqtt.events import Connected, PubAcks, PubComps, Publishes, PubRecs, PubRels
from appliance.mqtt.exchanges import ExchangeState
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from appliance.mqtt.subscribing import Subscribing
from appliance.mqtt.terms import MessageProperties, refuses

T = TypeVar("T")

Received: TypeAlias = PublishPacket | PubRelPacket
"""What a broker sends by itself."""


class Exchange:
    """One message of ours of QoS 1 or 2, and the answers to it that came."""

    __slots__ = ("answer", "changed", "completion", "qos")

    def __init__(self, qos: QoS) -> None:
        self.qos = qos
        self.answer: PubAckPacket | PubRecPacket | None = None
        self.completion: PubCompPacket | None = None
        self.changed = trio.lowlevel.ParkingLot()


@dataclass(frozen=True, slots=True)
class Open:
    """A message that came on this connection and is not acknowledged: its number there, its QoS."""

    number: int
    qos: QoS


class ManualExchanges:
    """See the module's docstring. ``lost`` returns the error of a call that has no connection, or no longer.

    ``dropped`` counts messages of QoS 0 that found no room: as many as ``bound`` wait for a consumer.
    """

    def __init__(self, lost: Callable[[], Exception], bound: int) -> None:
        self.dropped = 0
        self._lost = lost
        self._bound = bound
        self._connection: Connection
        self._last_id = 0
        self._turn = trio.Lock()  # of publishers, in the order of their calls
        self._exchanges: dict[int, Exchange] = {}
        self._scopes: set[trio.CancelScope] = set()  # of calls that end with the connection
        self._waiting: deque[Received] = deque()
        self._fleeting = 0  # QoS 0 among them
        self._consumers = trio.lowlevel.ParkingLot()
        self._open: dict[int, Open] = {}  # messages that came and are not acknowledged, by packet id

    def attach(self, connection: Connection) -> None:
        """Begin a life of the client, with nothing but the packet ids of the one before.

        They go on: the broker may have kept a session in which those of QoS 2 still mean something.
        """
        connection.session.packet_ids.skip_to(self._last_id)
        self._connection = connection
        self._exchanges = {}
        self._waiting = deque()
        self._fleeting = 0
        self._open = {}

    @property
    def packet_ids(self) -> Iterator[int]:
        """The packet ids that are free, one after the other, beginning with the one that was free for longest."""
        return iter(self._free_packet_id, None)

    def _free_packet_id(self) -> int:
        ids = self._session.packet_ids
        self._last_id = ids.take()
        ids.give_back(self._last_id)
        return self._last_id

    async def connected(self) -> ConnAckPacket:
        """Wait until calls find a connection. Raises DisconnectedError when none will come."""
        await trio.lowlevel.checkpoint()
        board = self._connection.board
        while (connack := board.link.connack) is None or self._session.state is not State.CONNECTED:
            await board.changed()
        return connack

    # Our messages

    async def publish(
        self,
        topic: str,
        payload: bytes,
        qos: QoS,
        properties: MessageProperties,
        *,
        packet_id: int | None,
        duplicate: bool,
        retain: bool,
    ) -> PubAckPacket | PubRecPacket | None:
        """Send a message; return the broker's first answer, None for QoS 0.

        Waits until the broker takes one more message, and for the answer. Raises ValueError for a message that cannot
        be sent, and for a packet id that is in use.
        """
        await trio.lowlevel.checkpoint()
        generation = self._require()
        if packet_id is None or qos == QoS.AT_MOST_ONCE:
            self._send(topic, payload, QoS.AT_MOST_ONCE, properties, None, duplicate=False, retain=retain)
            await self._connection.flush()
            self._require(generation)
            return None
        exchange = self._exchanges.get(packet_id) if duplicate else None
        if exchange is None or exchange.qos != qos:
            async with self._turn:
                await self._room(generation)
                self._send(topic, payload, qos, properties, packet_id, duplicate=duplicate, retain=retain)
                exchange = self._exchanges[packet_id] = Exchange(qos)
            await self._connection.flush()
        while exchange.answer is None:
            self._require(generation)
            await exchange.changed.park()
        if qos == QoS.AT_LEAST_ONCE or refuses(exchange.answer.reason_code):
            self._forget(packet_id, exchange)
        return exchange.answer

    async def release(self, packet: PubRelPacket) -> PubCompPacket:
        """Send a PUBREL; return the broker's PUBCOMP. Raises ValueError for a message that was not answered yet."""
        await trio.lowlevel.checkpoint()
        generation = self._require()
        packet_id = packet.packet_id
        exchange = self._exchanges.get(packet_id)
        if exchange is None or exchange.completion is None:
            if self._session.outgoing.stage(packet_id) is not ExchangeState.RELEASED:
                self._session.pubrel(packet)
            if exchange is None or exchange.qos != QoS.EXACTLY_ONCE:
                exchange = self._exchanges[packet_id] = Exchange(QoS.EXACTLY_ONCE)
        await self._connection.flush()
        while exchange.completion is None:
            self._require(generation)
            await exchange.changed.park()
        self._forget(packet_id, exchange)
        return exchange.completion

    # The broker's messages

    async def received(self) -> Received:
        """Return what came next, also what waits here from a connection that has ended. Several may wait at once."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            self._require()
            await self._consumers.park()
        packet = self._waiting.popleft()
        self._fleeting -= packet.packet_id is None
        return packet

    async def answer(self, packet: PubAckPacket | PubRecPacket) -> None:
        """Acknowledge a message: the packet leaves once all that came before it are acknowledged (MQTT 5 §4.6).

        One that is acknowledged already is passed over, and so is one that has not come on this connection: the broker
        sends it again. Raises ValueError for an acknowledgement of the other QoS. A cancelled call acknowledges, too.
        """
        generation = self._require()
        message = self._open.get(packet.packet_id)
        if message is None:
            await trio.lowlevel.checkpoint()
            return
        if (message.qos == QoS.AT_LEAST_ONCE) is not isinstance(packet, PubAckPacket):
            right = "puback" if message.qos == QoS.AT_LEAST_ONCE else "pubrec"
            raise ValueError(f"message {packet.packet_id} has QoS {message.qos.value}: `{right}` acknowledges it")
        del self._open[packet.packet_id]
        if not _is_plain(packet):
            self._session.answer(generation, message.number, packet)
        self._session.acknowledge(generation, message.number, 1)
        await self._connection.flush()

    async def complete(self, packet: PubCompPacket) -> None:
        """Answer a PUBREL of the broker. If cancelled, it is sent nevertheless."""
        self._require()
        self._session.pubcomp(packet)
        await self._connection.flush()

    # Subscriptions

    async def while_connected(self, ask: Callable[[Subscribing], Awaitable[T]]) -> T:
        """Return the answer that is asked for; give it up when the connection is lost."""
        await trio.lowlevel.checkpoint()
        self._require()
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await ask(Subscribing(self._connection))
            except DisconnectedError:
                pass
            finally:
                self._scopes.discard(scope)
        raise self._lost()

    # What the connection reports

    def on_publishes(self, event: Publishes) -> None:
        """Keep messages for their consumers, and how to acknowledge them."""
        number = event.first
        for packet in event.packets:
            if packet.packet_id is not None:
                self._open[packet.packet_id] = Open(number, packet.qos)
                number += 1
            elif self._fleeting >= self._bound:
                self.dropped += 1
                continue
            else:
                self._fleeting += 1
            self._put(packet)

    def on_pubrels(self, event: PubRels) -> None:
        """Keep PUBRELs for their consumers, behind the messages that came before."""
        for packet in event.packets:
            self._put(packet)

    def on_acks(self, event: PubAcks | PubRecs | PubComps) -> None:
        """Hand the broker's answers to those who wait for them."""
        for packet in event.packets:
            exchange = self._exchanges.get(packet.packet_id)
            if exchange is None:
                continue
            if isinstance(packet, PubCompPacket):
                exchange.completion = packet
            else:
                exchange.answer = packet
            exchange.changed.unpark_all()

    def on_connected(self, event: Connected) -> None:
        """Drop what comes again, and what ended with the session.

        Of a lost session, messages that wait here are the only copies and stay, but no more than one connection may
        bring.
        """
        self._open = {}
        for packet_id in event.resumption.ended:
            self._exchanges.pop(packet_id, None)
        room = 0 if event.connack.session_present else self._bound
        remaining: deque[Received] = deque()
        for packet in self._waiting:
            if packet.packet_id is not None:
                if isinstance(packet, PubRelPacket) or room <= 0:
                    continue
                room -= 1
            remaining.append(packet)
        self._waiting = remaining

    def on_lost(self) -> None:
        """Wake all that wait for a connection that has ended."""
        for scope in self._scopes:
            scope.cancel()
        for exchange in self._exchanges.values():
            exchange.changed.unpark_all()
        self._connection.progress.unpark_all()
        self._consumers.unpark_all()

    # Inner steps

    @property
    def _session(self) -> Session:
        return self._connection.session

    def _require(self, generation: int | None = None) -> int:
        """Return the number of the live connection. Raises if there is none, or another one than the call's."""
        session = self._session
        if session.state is not State.CONNECTED or generation not in (None, session.generation):
            raise self._lost()
        return session.generation

    async def _room(self, generation: int) -> None:
        """Wait until the broker takes one more message of QoS 1 or 2."""
        while self._session.room <= 0:
            self._require(generation)
            await self._connection.progress.park()
        self._require(generation)

    def _send(
        self,
        topic: str,
        payload: bytes,
        qos: QoS,
        properties: MessageProperties,
        packet_id: int | None,
        *,
        duplicate: bool,
        retain: bool,
    ) -> None:
        mistake = topics.name_mistake(topic)
        if mistake is not None:
            raise ValueError(mistake)
        self._session.publish(
            topic, payload, qos, retain=retain, properties=properties, packet_id=packet_id, duplicate=duplicate
        )

    def _put(self, packet: Received) -> None:
        self._waiting.append(packet)
        self._consumers.unpark()

    def _forget(self, packet_id: int, exchange: Exchange) -> None:
        if self._exchanges.get(packet_id) is exchange:
            del self._exchanges[packet_id]


def _is_plain(packet: PubAckPacket | PubRecPacket) -> bool:
    """Return whether an acknowledgement says success and nothing else, which the session says by itself."""
    return packet.reason_code.value == 0 and packet.reason_str is None and not packet.user_properties
