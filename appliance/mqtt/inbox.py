"""Messages that were read and wait for their consumer: batches, in order, bounded without stopping the reader.

Messages of QoS 1 and 2 are bounded by the receive maximum, since the broker sends no more before we acknowledge. Those
of QoS 0 have no such limit: beyond the bound they are dropped and counted.
"""

from collections import deque
from dataclasses import dataclass

import trio
from mqtt5 import PublishPacket, QoS


@dataclass(frozen=True, slots=True)
class InboundBatch:
    """Messages in arrival order. ``received``: seconds since 1970 when the first of them was read.

    Those of QoS 1 and 2 are numbers ``first`` to ``first + count - 1`` of connection ``generation``; only
    ``Client.acknowledge`` needs those.
    """

    packets: list[PublishPacket]
    generation: int
    first: int
    count: int
    received: float


class Inbox:
    """Batches between the reader and the caller of ``get``. ``bound`` is the number of QoS 0 messages that may wait."""

    def __init__(self, bound: int) -> None:
        self.dropped = 0  # QoS 0 messages that found no room
        self.forgotten = 0  # QoS 1 messages of a lost connection that the broker sends again
        self._bound = bound
        self._batches: deque[InboundBatch] = deque()
        self._waiting = 0
        self._fleeting = 0  # QoS 0 among them
        self._getters = trio.lowlevel.ParkingLot()
        self._awaited = False  # somebody was waiting for the newest batch
        self._closed = False
        self._error: Exception | None = None

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        return self._waiting

    @property
    def busy(self) -> bool:
        """Whether messages wait because their consumer is still working on older ones."""
        return bool(self._batches) and not self._awaited

    def put(self, batch: InboundBatch) -> None:
        """Add what was read; never waits."""
        fleeting = len(batch.packets) - batch.count
        if fleeting and self._fleeting + fleeting > self._bound:
            batch, fleeting = self._without_room(batch, self._bound - self._fleeting)
        if batch.packets:
            self._batches.append(batch)
            self._waiting += len(batch.packets)
            self._fleeting += fleeting
            self._awaited = bool(self._getters.unpark())

    async def get(self, maximum: int, within: float) -> InboundBatch | None:
        """Return the oldest batch, with those behind it as long as they fit into ``maximum`` messages together.

        All of them were read less than ``within`` seconds after the first, whose receive time holds for the batch.
        A chunk is never split: a batch is larger than ``maximum`` if one chunk was. None when closed
        and empty.
        """
        await trio.lowlevel.checkpoint()
        while not self._batches:
            if self._error is not None:
                raise self._error
            if self._closed:
                return None
            await self._getters.park()
        taken = [self._batches.popleft()]
        size = len(taken[0].packets)
        while self._batches and _joinable(taken[-1], self._batches[0], taken[0].received, within):
            size += len(self._batches[0].packets)
            if size > maximum:
                break
            taken.append(self._batches.popleft())
        return self._handed_out(taken)

    def renew(self, generation: int, *, redelivered: bool) -> None:
        """Start a new connection. Messages of older ones are dropped when the broker sends them again, as QoS 1 are.

        When the broker forgot the session, what waits here is the only copy and stays - but not more than a
        broker may send on one connection, or connections that keep failing would fill the memory.
        """
        keep = 0 if redelivered else self._bound
        durable = self._waiting - self._fleeting
        remaining: deque[InboundBatch] = deque()
        for batch in self._batches:
            if batch.generation == generation or durable <= keep or not batch.count:
                remaining.append(batch)
                continue
            parts = _lasting(batch, exact=redelivered)
            remaining.extend(parts)
            gone = batch.count - sum(part.count for part in parts)
            durable -= gone
            self.forgotten += gone
        self._batches = remaining
        self._waiting = durable + self._fleeting

    def open(self) -> None:
        """Open again: ``get`` waits."""
        self._closed = False
        self._error = None

    def close(self, error: Exception | None = None) -> None:
        """Close: ``get`` returns what is left, then None or raises the error."""
        self._closed = True
        self._error = error
        self._getters.unpark_all()

    def _handed_out(self, taken: list[InboundBatch]) -> InboundBatch:
        first = taken[0]
        count = sum(batch.count for batch in taken)
        for batch in taken[1:]:
            first.packets.extend(batch.packets)
        self._waiting -= len(first.packets)
        self._fleeting -= len(first.packets) - count
        return InboundBatch(first.packets, first.generation, first.first, count, first.received)

    def _without_room(self, batch: InboundBatch, room: int) -> tuple[InboundBatch, int]:
        """Return the batch with only its first ``room`` QoS 0 messages, and how many those are."""
        packets = []
        fleeting = 0
        for packet in batch.packets:
            if packet.packet_id is None:
                fleeting += 1
                if fleeting > room:
                    continue
            packets.append(packet)
        self.dropped += fleeting - room
        return InboundBatch(packets, batch.generation, batch.first, batch.count, batch.received), room


def _lasting(batch: InboundBatch, *, exact: bool) -> list[InboundBatch]:
    """Return what of a lost connection's batch stays: QoS 0 and, with ``exact``, QoS 2, which does not come again."""
    parts = []
    number = batch.first
    for packet in batch.packets:
        if packet.packet_id is None or (exact and packet.qos == QoS.EXACTLY_ONCE):
            count = int(packet.packet_id is not None)
            parts.append(InboundBatch([packet], batch.generation, number, count, batch.received))
        number += packet.packet_id is not None
    return parts


def _joinable(last: InboundBatch, other: InboundBatch, begun: float, within: float) -> bool:
    """Return whether the numbers of ``other`` follow those of ``last``, and it came soon after the first."""
    follows = last.generation == other.generation and last.first + last.count == other.first
    return follows and other.received - begun < within


class Turn:
    """One task at a time iterates: messages that two took in turns would be in nobody's order.

    Several iterators share the messages, each of which goes to one of them.
    """

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError("another task iterates over these messages: give each task an iterator of its own")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class Batches:
    """Iterates over an inbox; ends when it is closed. Raises RuntimeError in a second task at the same time."""

    def __init__(self, inbox: Inbox, maximum: int, within: float) -> None:
        self._turn = Turn()
        self._inbox = inbox
        self._maximum = maximum
        self._within = within

    def __aiter__(self) -> "Batches":
        return self

    async def __anext__(self) -> InboundBatch:
        with self._turn:
            batch = await self._inbox.get(self._maximum, self._within)
        if batch is None:
            raise StopAsyncIteration
        return batch


@dataclass(frozen=True, slots=True)
class Message:
    """One received message, with what ``Client.puback`` needs to know about it."""

    packet: PublishPacket
    generation: int
    number: int

    @property
    def topic(self) -> str:
        """The full topic."""
        return self.packet.topic

    @property
    def payload(self) -> bytes:
        """The bytes as received."""
        return self.packet.payload

    @property
    def qos(self) -> QoS:
        """0, 1 or 2."""
        return self.packet.qos

    @property
    def retain(self) -> bool:
        """Whether the broker had kept it for us."""
        return self.packet.retain


class Messages:
    """Iterates over an inbox message by message, like ``Batches``. ``opened`` is the rest of a chunk, for any."""

    def __init__(self, inbox: Inbox, opened: deque[Message]) -> None:
        self._turn = Turn()
        self._inbox = inbox
        self._opened = opened

    def __aiter__(self) -> "Messages":
        return self

    async def __anext__(self) -> Message:
        with self._turn:
            await self._open()
        return self._opened.popleft()

    async def _open(self) -> None:
        """Wait until there is a message."""
        while not self._opened:
            batch = await self._inbox.get(1, 0.0)
            if batch is None:
                raise StopAsyncIteration
            number = batch.first
            for packet in batch.packets:
                self._opened.append(Message(packet, batch.generation, number))
                number += packet.packet_id is not None
