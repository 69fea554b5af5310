"""Who waits for the acknowledgement of what: publishers by packet id, subscribers by filter. No I/O."""

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
    """Whether a reason code says no: those from 0x80 on do (MQTT 5 §2.4).

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
        """The call has handed over its last message."""
        self.closed = True
        if not self.open:
            self.done.set()

    def settle(self, reason_code: PubAckReasonCode) -> None:
        """One message was answered."""
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
        """A message was handed over."""
        receipt.open += 1
        self._open[packet_id] = receipt

    def settle(self, packets: Iterable[PubAckPacket]) -> None:
        """The broker answered."""
        for packet in packets:
            receipt = self._open.pop(packet.packet_id, None)
            if receipt is not None:
                receipt.settle(packet.reason_code)

    def give_up(self, packet_ids: Iterable[int]) -> None:
        """The broker does not take these any more: as if it had refused them."""
        for packet_id in packet_ids:
            receipt = self._open.pop(packet_id, None)
            if receipt is not None:
                receipt.settle(PubAckReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)

    def abandon(self) -> None:
        """No answer will come: wake everybody who waits."""
        for receipt in self._open.values():
            receipt.done.set()
        self._open = {}


class SubscriptionReceipts:
    """The filters we want, remembered over connections, and what the broker of this connection answered."""

    def __init__(self) -> None:
        self._wanted: dict[str, TopicFilter] = {}
        self._granted: dict[str, SubAckReasonCode] = {}
        self._removed: dict[str, UnsubAckReasonCode] = {}
        self._asked: dict[int, Sequence[str]] = {}

    @property
    def wanted(self) -> list[TopicFilter]:
        """What to subscribe to after a connect."""
        return list(self._wanted.values())

    @property
    def complete(self) -> bool:
        """Whether the broker granted everything on this connection."""
        return all(pattern in self._granted and not refuses(self._granted[pattern]) for pattern in self._wanted)

    def want(self, topic_filter: TopicFilter) -> None:
        """Remember a filter; one of the same pattern is replaced."""
        self._wanted[topic_filter.pattern] = topic_filter
        self._granted.pop(topic_filter.pattern, None)

    def drop(self, pattern: str) -> None:
        """Forget a filter."""
        self._wanted.pop(pattern, None)
        self._removed.pop(pattern, None)

    def asked(self, packet_id: int, patterns: Sequence[str]) -> None:
        """A SUBSCRIBE or UNSUBSCRIBE for these is under way."""
        self._asked[packet_id] = patterns

    def connected(self) -> None:
        """A new connection: nothing was asked or answered on it yet."""
        self._asked = {}
        self._granted = {}
        self._removed = {}

    def granted(self, packet: SubAckPacket) -> list[tuple[str, SubAckReasonCode]]:
        """Take in the answer; tells which filters were refused, and why."""
        answers = list(zip(self._asked.pop(packet.packet_id, ()), packet.reason_codes, strict=False))
        self._granted.update(answers)
        return [(pattern, code) for pattern, code in answers if refuses(code)]

    def removed(self, packet: UnsubAckPacket) -> None:
        """Take in the answer to an UNSUBSCRIBE."""
        self._removed.update(zip(self._asked.pop(packet.packet_id, ()), packet.reason_codes, strict=False))

    def answer(self, pattern: str) -> SubAckReasonCode | None:
        """What the broker said to the filter on this connection."""
        return self._granted.get(pattern)

    def removal(self, pattern: str) -> UnsubAckReasonCode | None:
        """What the broker said to the end of the filter on this connection."""
        return self._removed.get(pattern)
