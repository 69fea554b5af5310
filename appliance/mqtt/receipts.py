"""Pending acknowledgements of publishers, by packet id. No I/O."""

from collections.abc import Iterable

import trio
from mqtt5 import PubAckPacket, PubAckReasonCode, PubCompPacket, PubRecPacket, PubRecReasonCode

from appliance.mqtt.exchanges import Resumption
from appliance.mqtt.terms import refuses


class Receipt:
    """A publisher's view of the messages of one call: how many are not settled, and which were refused.

    ``in_doubt`` counts those of QoS 2 of which nobody knows whether they arrived; see ``SessionLostError``.
    """

    __slots__ = ("closed", "done", "in_doubt", "open", "reason", "reason_code", "refused")

    def __init__(self) -> None:
        self.open = 0
        self.refused = self.in_doubt = 0
        self.reason_code: PubAckReasonCode | PubRecReasonCode | None = None  # of the first refusal
        self.reason: str | None = None  # what the broker says beside it
        self.closed = False  # no more messages are coming
        self.done = trio.Event()

    def close(self) -> None:
        """Mark the call as complete: its last message was sent."""
        self.closed = True
        if not self.open:
            self.done.set()

    def settle(self, reason_code: PubAckReasonCode | PubRecReasonCode, reason: str | None) -> None:
        """Count one answer."""
        if refuses(reason_code):
            self.refused += 1
            if self.reason_code is None:
                self.reason_code, self.reason = reason_code, reason
        self.end()

    def end(self) -> None:
        """Count one message less to wait for."""
        self.open -= 1
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

    def settle(self, packets: Iterable[PubAckPacket | PubRecPacket]) -> None:
        """Settle messages that the broker answered for good: QoS 1, or QoS 2 that it refused."""
        for packet in packets:
            receipt = self._open.pop(packet.packet_id, None)
            if receipt is not None:
                receipt.settle(packet.reason_code, packet.reason_str)

    def complete(self, packets: Iterable[PubCompPacket]) -> None:
        """Settle messages of QoS 2 whose exchange is over: they arrived, whatever the PUBCOMP says."""
        for packet in packets:
            receipt = self._open.pop(packet.packet_id, None)
            if receipt is not None:
                receipt.end()

    def resume(self, resumption: Resumption) -> None:
        """Settle messages that are not sent again on a new connection."""
        for packet_id in (*resumption.ended, *resumption.withdrawn):
            receipt = self._open.pop(packet_id, None)
            if receipt is None:
                continue
            if packet_id in resumption.refused:
                receipt.settle(PubAckReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, None)
            else:
                receipt.in_doubt += packet_id in resumption.in_doubt or packet_id in resumption.withdrawn
                receipt.end()

    def abandon(self) -> None:
        """Wake all waiting tasks: no answer will come."""
        for receipt in self._open.values():
            receipt.done.set()
        self._open = {}
