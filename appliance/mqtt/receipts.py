"""Pending acknowledgements: of publishers by packet id, of subscribers by filter. No I/O."""

from collections.abc import Iterable, Sequence

import trio
from mqtt5 import (
    PubAckPacket,
    PubAckReasonCode,
    SubAckPacket,
    SubAckReasonCode,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
)


def refuses(code: PubAckReasonCode | SubAckReasonCode | UnsubAckReasonCode) -> bool:
    """Return whether a reason code is a refusal: those from 0x80 on are (MQTT 5 §2.4).

    mqtt5's codes have a value but, other than its type stubs say, are not ordered, not hashable, and never false.
    """
    return code.value >= 0x80


class Receipt:
    """A publisher's view of the messages of one call: how many are not settled, and which were refused."""

    __slots__ = ("closed", "done", "open", "reason_code", "refused")

    def __init__(self) -> None:
        self.open = 0
        self.refused = 0
        self.reason_code: PubAckReasonCode | None = None  # of the first refusal
        self.closed = False  # no more messages are coming
        self.done = trio.Event()

    def close(self) -> None:
        """Mark the call as complete: its last message was sent."""
        self.closed = True
        if not self.open:
            self.done.set()

    def settle(self, reason_code: PubAckReasonCode) -> None:
        """Count one answer."""
        self.open -= 1
        if refuses(reason_code):
            self.refused += 1
            if self.reason_code is None:
                self.reason_code = reason_code
        if self.closed and not self.open:
            self.done.set()


class Receipts:
    """The open receipts by packet id; an id stays valid over reconnects until it is settled."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Receipt] = {}

    def add(self, packet_id: int, receipt: Receipt) -> None:
        """Add a sent message."""
        receipt.open += 1
        self._open[packet_id] = receipt

    def settle(self, packets: Iterable[PubAckPacket]) -> None:
        """Settle a message that the broker answered."""
        for packet in packets:
            receipt = self._open.pop(packet.packet_id, None)
            if receipt is not None:
                receipt.settle(packet.reason_code)

    def give_up(self, packet_ids: Iterable[int]) -> None:
        """Settle messages that the broker does not take any more, as refused."""
        for packet_id in packet_ids:
            receipt = self._open.pop(packet_id, None)
            if receipt is not None:
                receipt.settle(PubAckReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)

    def abandon(self) -> None:
        """Wake all waiting tasks: no answer will come."""
        for receipt in self._open.values():
            receipt.done.set()
        self._open = {}


class SubscriptionReceipts:
    """The wanted filters, kept across connections, and the broker's answers on this connection."""

    def __init__(self) -> None:
        self._wanted: dict[str, TopicFilter] = {}
        self._granted: dict[str, SubAckReasonCode] = {}
        self._removed: dict[str, UnsubAckReasonCode] = {}
        self._asked: dict[int, Sequence[str]] = {}

    @property
    def wanted(self) -> list[TopicFilter]:
        """The filters to subscribe to after a connect."""
        return list(self._wanted.values())

    @property
    def complete(self) -> bool:
        """Whether the broker granted everything on this connection."""
        return all(pattern in self._granted and not refuses(self._granted[pattern]) for pattern in self._wanted)

    def want(self, topic_filter: TopicFilter) -> None:
        """Add a filter; one of the same pattern is replaced."""
        self._wanted[topic_filter.pattern] = topic_filter
        self._granted.pop(topic_filter.pattern, None)

    def drop(self, pattern: str) -> None:
        """Remove a filter."""
        self._wanted.pop(pattern, None)
        self._removed.pop(pattern, None)

    def asked(self, packet_id: int, patterns: Sequence[str]) -> None:
        """Note that a SUBSCRIBE or UNSUBSCRIBE for these was sent."""
        self._asked[packet_id] = patterns

    def connected(self) -> None:
        """Start a new connection: nothing was asked or answered on it yet."""
        self._asked = {}
        self._granted = {}
        self._removed = {}

    def granted(self, packet: SubAckPacket) -> list[tuple[str, SubAckReasonCode]]:
        """Record the answer; return the refused filters with their reasons."""
        answers = list(zip(self._asked.pop(packet.packet_id, ()), packet.reason_codes, strict=False))
        self._granted.update(answers)
        return [(pattern, code) for pattern, code in answers if refuses(code)]

    def removed(self, packet: UnsubAckPacket) -> None:
        """Record the answer to an UNSUBSCRIBE."""
        self._removed.update(zip(self._asked.pop(packet.packet_id, ()), packet.reason_codes, strict=False))

    def answer(self, pattern: str) -> SubAckReasonCode | None:
        """Return the broker's answer to the filter on this connection."""
        return self._granted.get(pattern)

    def removal(self, pattern: str) -> UnsubAckReasonCode | None:
        """Return the broker's answer to the end of the filter on this connection."""
        return self._removed.get(pattern)
