"""A broker of one client, as the specification has it for QoS 1 and 2, over connections that break."""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import mqtt5
import trio
from mqtt5 import (
    ConnAckPacket,
    ConnectPacket,
    DisconnectPacket,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
)

from appliance.mqtt.terms import refuses
from tests.support.mqtt.lossy_pipe import Pipe, lossy_pipe
from tests.support.mqtt.memory_journal import MemoryJournal
from tests.support.mqtt.scripted_broker import Peer

LAST_ID = 9
"""Packet ids for the client are used again soon."""


@dataclass(slots=True)
class Outbound:
    """A message for the client. ``released``: PUBREC has come, so that PUBREL is what is sent."""

    payload: bytes
    qos: QoS
    topic: str
    released: bool = False
    told: bool = False  # PUBREL was sent, on any connection


@dataclass(slots=True)
class Connection:
    """What one connection has seen."""

    peer: Peer
    present: bool
    connect: ConnectPacket
    unanswered: dict[int, bytes] = field(default_factory=dict)  # messages of the client, by id
    due: dict[int, deque[int]] = field(default_factory=lambda: {1: deque(), 2: deque()})
    releasing: set[int] = field(default_factory=set)  # PUBREL was sent, PUBCOMP is due
    aliases: dict[str, int] = field(default_factory=dict)
    last_place: int = -1  # in the client's order, of its last message
    last_turn: int = -1  # of the PUBREC that its last PUBREL answers


class ModelBroker:
    """A transport and the broker behind it. Every connection breaks after a random number of bytes until ``heal``.

    ``received`` counts payloads of the client, ``to_send`` are those for it, ``settled`` those that it may acknowledge,
    ``answered`` those of QoS 2 that it has acknowledged, ``lost`` those that went with a session. ``method_b``: it
    passes QoS 2 on when it comes, and not when it is released (§4.3.3). ``journal`` tells in which order the client
    sends.

    Raises AssertionError for what a client must not do: use an id again that is in use, send more at once than is
    taken, send again in another order or with a false DUP, acknowledge or release out of order, or what is not done.
    """

    name = "model broker"

    def __init__(self, chance: random.Random, journal: MemoryJournal, to_send: int, *, losses: float = 0.1) -> None:
        self.received: Counter[bytes] = Counter()
        self.refused: set[bytes] = set()
        self.to_send = deque(
            Outbound(b"down %d" % number, chance.choice((QoS.AT_LEAST_ONCE, QoS.EXACTLY_ONCE)), f"t{number % 3}")
            for number in range(to_send)
        )
        self.kinds = {message.payload: message.qos for message in self.to_send}
        self.settled: set[bytes] = set()
        self.lost: set[bytes] = set()
        self.answered: set[bytes] = set()  # by PUBREC
        self.connections = self.losses = 0
        self.lossy = True
        self.window = chance.choice((1, 2, 5))
        self.method_b = chance.random() < 0.5
        self._chance = chance
        self._journal = journal
        self._loss_rate = losses
        self._known = False  # it has a session of the client
        self._losing = False  # ... which the client may not know to be a new one
        self._taken: dict[int, bytes] = {}  # QoS 2 of the client that waits for PUBREL
        self._turns: dict[int, int] = {}  # when its PUBREC was sent last
        self._turn_count = 0
        self._completed: set[int] = set()  # ids that were released
        self._seen: dict[bytes, int] = {}  # all that came in this session, with its id
        self._sent: dict[int, Outbound] = {}  # not acknowledged for good, oldest first
        self._last_id = 0
        self._turn = trio.Lock()  # to write
        self._far: Pipe | None = None
        self._arrived, self._connections = trio.open_memory_channel[trio.abc.Stream](1)

    @property
    def done(self) -> bool:
        """Whether the client has acknowledged all that it was sent."""
        return not self.to_send and not self._sent

    def heal(self) -> None:
        """Let connections and sessions live from now on, and refuse nothing."""
        self.lossy = False

    async def cut(self) -> None:
        """Say no more on the newest connection."""
        if self._far is not None:
            await trio.aclose_forcefully(self._far.send_stream)

    async def open(self, _: trio.Nursery) -> trio.abc.Stream:
        """Connect the client."""
        await trio.lowlevel.checkpoint()
        near, self._far = lossy_pipe(
            self._chance.randint(1, self._chance.choice((100, 700))) if self.lossy else 1 << 40
        )
        self._arrived.send_nowait(self._far)
        return near

    async def run(self) -> None:
        """Serve connection after connection."""
        async for stream in self._connections:
            self.connections += 1
            peer = Peer(stream)
            try:
                await self._serve(peer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                await peer.close()

    async def _serve(self, peer: Peer) -> None:
        connect = await peer.packet()
        if not isinstance(connect, ConnectPacket):
            return
        self._losing = self._losing or not self._known or (self.lossy and self._chance.random() < self._loss_rate)
        if self._losing:
            self._lose()
        link = Connection(peer, not self._losing, connect)
        await peer.send(ConnAckPacket(session_present=link.present, receive_max=self.window))
        await peer.send(*self._again(link))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, link)
            while (packet := await peer.packet()) is not None and not isinstance(packet, DisconnectPacket):
                self._losing = False  # it has read our CONNACK
                answer = self._answer(link, packet)
                if answer is not None:
                    nursery.start_soon(self._reply, link, answer)
            nursery.cancel_scope.cancel()

    def _lose(self) -> None:
        """Forget the session. Messages of QoS 1 for the client are sent as new ones, those of QoS 2 are lost."""
        self.losses += self._known
        self._known = True
        if not self.method_b:  # what was taken over is passed on
            self.received.update(self._taken.values())
        for record in (self._taken, self._turns, self._completed, self._seen):
            record.clear()
        self.lost |= {message.payload for message in self._sent.values() if message.qos == QoS.EXACTLY_ONCE}
        again = [message for message in self._sent.values() if message.qos == QoS.AT_LEAST_ONCE]
        self.to_send.extendleft(reversed(again))
        self._sent.clear()

    # What the client sends

    def _answer(self, link: Connection, packet: mqtt5.Packet) -> mqtt5.Packet | None:
        """Take in a packet; return the answer, to be sent when it pleases us."""
        match packet:
            case PublishPacket():
                return self._on_publish(link, packet)
            case PubRelPacket():
                return self._on_pubrel(link, packet)
            case PubAckPacket() | PubRecPacket():
                return self._on_acknowledgement(link, packet)
            case PubCompPacket():
                assert packet.packet_id in link.releasing, "a PUBCOMP without a PUBREL on this connection"
                link.releasing.remove(packet.packet_id)
                message = self._sent.pop(packet.packet_id)
                known = packet.reason_code == PubCompReasonCode.SUCCESS
                assert known or message.told, "it knows the message"
            case PingReqPacket():
                return PingRespPacket()
            case _:
                raise AssertionError(packet)
        return None

    def _on_publish(self, link: Connection, packet: PublishPacket) -> PubAckPacket | PubRecPacket:
        packet_id, payload = packet.packet_id or 0, packet.payload
        assert packet_id not in link.unanswered, f"{packet_id} is used twice"
        assert self._taken.get(packet_id, payload) == payload, "an id that is in use"
        assert packet.duplicate if link.present and payload in self._seen else link.present or not packet.duplicate
        assert self._seen.setdefault(payload, packet_id) == packet_id, "sent again with another id"
        place = self._journal.places[payload]
        assert place > link.last_place, "in another order than they were published in"
        link.last_place = place
        link.unanswered[packet_id] = payload
        assert len(link.unanswered) <= self.window, "more than it takes at once"
        refused = self.lossy and packet_id not in self._taken and self._chance.random() < 0.05
        if refused:
            self.refused.add(payload)
        self._completed.discard(packet_id)
        if packet.qos == QoS.AT_LEAST_ONCE:
            self.received[payload] += not refused
            code = PubAckReasonCode.QUOTA_EXCEEDED if refused else PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
            return PubAckPacket(packet_id, reason_code=code)
        if refused:
            return PubRecPacket(packet_id, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)
        if packet_id not in self._taken:
            self._taken[packet_id] = payload
            self.received[payload] += self.method_b
        return PubRecPacket(packet_id)

    def _on_pubrel(self, link: Connection, packet: PubRelPacket) -> PubCompPacket:
        packet_id = packet.packet_id
        assert packet_id in self._taken or packet_id in self._completed, "released what was not there"
        turn = self._turns[packet_id]
        assert turn > link.last_turn, "released in another order than that of the PUBRECs"
        link.last_turn = turn
        payload = self._taken.pop(packet_id, None)
        if payload is not None:
            self.received[payload] += not self.method_b
        self._completed.add(packet_id)
        link.unanswered[packet_id] = b"released"
        return PubCompPacket(packet_id)

    def _on_acknowledgement(self, link: Connection, packet: PubAckPacket | PubRecPacket) -> PubRelPacket | None:
        packet_id, message = packet.packet_id, self._sent[packet.packet_id]
        assert isinstance(packet, PubRecPacket) is (message.qos == QoS.EXACTLY_ONCE), "an answer to another QoS"
        assert packet_id == link.due[message.qos.value].popleft(), "not in the order of arrival"
        assert message.payload in self.settled, "not done yet"
        assert not message.released
        if isinstance(packet, PubRecPacket) and not refuses(packet.reason_code):
            message.released = True
            self.answered.add(message.payload)
            link.releasing.add(packet_id)
            return PubRelPacket(packet_id)
        del self._sent[packet_id]
        return None

    # What it sends

    async def _reply(self, link: Connection, packet: mqtt5.Packet) -> None:
        await trio.sleep(self._chance.choice((0, 0, 0.1, 1)))
        async with self._turn:
            match packet:
                case PubRecPacket() if not refuses(packet.reason_code):
                    self._turn_count += 1
                    self._turns[packet.packet_id] = self._turn_count
                case PubAckPacket() | PubCompPacket() | PubRecPacket():
                    del link.unanswered[packet.packet_id]
                case PubRelPacket():
                    self._sent[packet.packet_id].told = True
            await self._try_to_send(link, packet)

    async def _send(self, link: Connection) -> None:
        most = min(link.connect.receive_max, LAST_ID - 1)
        while True:
            await trio.sleep(self._chance.choice((0, 0.05, 0.5)))
            if self.to_send and len(self._sent) < most:
                async with self._turn:
                    packet_id = self._free_id()
                    message = self._sent[packet_id] = self.to_send.popleft()
                    await self._try_to_send(link, self._message(link, packet_id, message, duplicate=False))

    async def _try_to_send(self, link: Connection, packet: mqtt5.Packet) -> None:
        try:
            await link.peer.send(packet)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.sleep_forever()  # whoever reads notices as well

    def _again(self, link: Connection) -> Sequence[mqtt5.Packet]:
        """Return what a session that was kept sends again: all at once, in the original order."""
        packets: list[mqtt5.Packet] = []
        for packet_id, message in self._sent.items():
            if message.released:
                message.told = True
                link.releasing.add(packet_id)
                packets.append(PubRelPacket(packet_id))
            else:
                packets.append(self._message(link, packet_id, message, duplicate=True))
        return packets

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % LAST_ID + 1
            if self._last_id not in self._sent:
                return self._last_id

    def _message(self, link: Connection, packet_id: int, message: Outbound, *, duplicate: bool) -> PublishPacket:
        link.due[message.qos.value].append(packet_id)
        topic, alias = message.topic, link.aliases.get(message.topic)
        if alias is not None and self._chance.random() < 0.7:
            topic = ""
        elif alias is None and len(link.aliases) < link.connect.topic_alias_max:
            alias = link.aliases[topic] = len(link.aliases) + 1
        return PublishPacket(
            topic, message.payload, qos=message.qos, packet_id=packet_id, duplicate=duplicate, topic_alias=alias
        )
