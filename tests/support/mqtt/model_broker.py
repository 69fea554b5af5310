"""A broker of one client, as the specification has it for QoS 1, over connections that break."""

import random
from collections import Counter, deque

import trio
from mqtt5 import (
    ConnAckPacket,
    ConnectPacket,
    DisconnectPacket,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PublishPacket,
    QoS,
)

from tests.support.mqtt.lossy_pipe import lossy_pipe
from tests.support.mqtt.scripted_broker import Peer


class ModelBroker:
    """A transport and the broker behind it. Every connection breaks after a random number of bytes until ``heal``.

    ``received`` counts payloads of the client, ``to_send`` are those for it, ``settled`` those that it may acknowledge.
    Raises AssertionError for what a client must not do: use an id again for another message, acknowledge out of order,
    or what it has not done.
    """

    name = "model broker"
    window = 5

    def __init__(self, chance: random.Random, to_send: int) -> None:
        self.received: Counter[bytes] = Counter()
        self.to_send = deque(b"down %d" % number for number in range(to_send))
        self.settled: set[bytes] = set()
        self.connections = 0
        self._chance = chance
        self._known = False  # it has a session of the client
        self._lossy = True
        self._sent: dict[int, bytes] = {}  # not acknowledged, oldest first
        self._last_id = 0
        self._turn = trio.Lock()  # to write
        self._arrived, self._connections = trio.open_memory_channel[trio.abc.Stream](1)

    @property
    def done(self) -> bool:
        """Whether the client has acknowledged all that it was sent."""
        return not self.to_send and not self._sent

    def heal(self) -> None:
        """Let connections live from now on."""
        self._lossy = False

    async def open(self) -> trio.abc.Stream:
        """Connect the client."""
        await trio.lowlevel.checkpoint()
        near, far = lossy_pipe(self._chance.randint(1, 700) if self._lossy else 1 << 40)
        self._arrived.send_nowait(far)
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
        present = self._known and self._chance.random() < 0.8
        self._known = True
        await peer.send(ConnAckPacket(session_present=present, receive_max=self.window))
        unacknowledged: dict[int, bytes] = {}  # of the client, on this connection
        for packet_id, payload in self._sent.items():
            await peer.send(self._message(packet_id, payload, duplicate=present))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, peer)
            while (packet := await peer.packet()) is not None and not isinstance(packet, DisconnectPacket):
                match packet:
                    case PublishPacket():
                        packet_id = packet.packet_id or 0
                        assert packet_id not in unacknowledged, f"{packet_id} is used twice"
                        unacknowledged[packet_id] = packet.payload
                        assert len(unacknowledged) <= self.window, "more than it takes at once"
                        self.received[packet.payload] += 1
                        nursery.start_soon(self._acknowledge, peer, packet_id, unacknowledged)
                    case PubAckPacket():
                        assert packet.packet_id == next(iter(self._sent)), "not in the order of arrival"
                        assert self._sent.pop(packet.packet_id) in self.settled, "not done yet"
                    case PingReqPacket():
                        nursery.start_soon(self._try_to_send, peer, PingRespPacket())
            nursery.cancel_scope.cancel()

    async def _acknowledge(self, peer: Peer, packet_id: int, unacknowledged: dict[int, bytes]) -> None:
        await trio.sleep(self._chance.choice((0, 0, 0.1, 1)))
        del unacknowledged[packet_id]
        await self._try_to_send(peer, PubAckPacket(packet_id))

    async def _send(self, peer: Peer) -> None:
        while True:
            await trio.sleep(self._chance.choice((0, 0.05, 0.5)))
            if self.to_send and len(self._sent) < self.window:
                self._last_id = self._last_id % 9 + 1
                assert self._last_id not in self._sent
                payload = self._sent[self._last_id] = self.to_send.popleft()
                await self._try_to_send(peer, self._message(self._last_id, payload, duplicate=False))

    async def _try_to_send(self, peer: Peer, packet: PubAckPacket | PublishPacket | PingRespPacket) -> None:
        try:
            async with self._turn:
                await peer.send(packet)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.sleep_forever()  # whoever reads notices as well

    def _message(self, packet_id: int, payload: bytes, *, duplicate: bool) -> PublishPacket:
        return PublishPacket("t", payload, qos=QoS.AT_LEAST_ONCE, packet_id=packet_id, duplicate=duplicate)
