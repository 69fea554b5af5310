"""A broker in memory for clients: takes connections over trio's memory streams and does what the test says.

With ``autojump_clock`` hours pass in no time, since nothing here waits for the outside.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import mqtt5
import trio
import trio.testing
from mqtt5 import ConnAckPacket, ConnectPacket

from appliance.mqtt.framing import Framing

P = TypeVar("P")


@dataclass(slots=True)
class Peer:
    """The broker's end of one connection."""

    stream: trio.abc.Stream
    connect: ConnectPacket | None = None
    _framing: Framing = field(default_factory=Framing)
    _packets: list[mqtt5.Packet] = field(default_factory=list)

    async def send(self, *packets: mqtt5.Packet) -> None:
        """Write packets as one chunk."""
        await self.stream.send_all(b"".join(packet.write() for packet in packets))

    async def packet(self) -> mqtt5.Packet | None:
        """Return the next packet of the client, None at the end of the stream."""
        while not self._packets:
            data = bytes(await self.stream.receive_some(65536))
            if not data:
                return None
            packets, fault = self._framing.feed(data)
            assert fault is None, fault
            self._packets += packets
        return self._packets.pop(0)

    async def expect(self, kind: type[P]) -> P:
        """Return the next packet, which must be of this kind."""
        packet = await self.packet()
        assert isinstance(packet, kind), packet
        return packet

    async def close(self) -> None:
        """Close the connection without DISCONNECT."""
        await trio.aclose_forcefully(self.stream)


class ScriptedBroker:
    """A transport whose far ends are handed to the test.

    ``connack`` answers each connection as it opens, None leaves it unanswered; ``greeting`` are bytes instead of it.
    ``unreachable`` says which attempts, counted from 1, fail, with ``failure``. ``attempts`` are their moments.
    """

    name = "scripted broker"

    def __init__(self) -> None:
        self.connack: ConnAckPacket | None = ConnAckPacket()
        self.greeting = b""
        self.failure: Exception = ConnectionRefusedError(111, "Connection refused")
        self.attempts: list[float] = []
        self.unreachable: Callable[[int], bool] = lambda attempt: False  # noqa: ARG005
        self._arrived, self._connections = trio.open_memory_channel[trio.abc.Stream](100)

    async def open(self, _: trio.Nursery) -> trio.abc.Stream:
        """Connect a client."""
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if self.unreachable(len(self.attempts)):
            raise self.failure
        ours, theirs = trio.testing.memory_stream_pair()
        if self.greeting:
            await theirs.send_all(self.greeting)
        elif self.connack is not None:
            await theirs.send_all(self.connack.write())  # lies in the stream until the client reads
        self._arrived.send_nowait(theirs)
        return ours

    async def arrival(self) -> Peer:
        """Return the far end of the next connection."""
        return Peer(await self._connections.receive())

    async def peer(self) -> Peer:
        """Return the far end of the next connection; its CONNECT has been read."""
        peer = await self.arrival()
        peer.connect = await peer.expect(ConnectPacket)
        return peer
