"""Pending acknowledgements of publishers, by packet id. No I/O."""

from collections.abc import Iterable

import trio
from mqtt5 import PubAckPacket, PubAckReasonCode, SubAckReasonCode, UnsubAckReasonCode


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
