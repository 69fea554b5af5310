"""Our messages from the packet id they take to the answer that frees it. No I/O.

Enters: messages, and the broker's acknowledgements. Leaves: packets in the session's output, acknowledgements that mean
something, faults. Never: an id that is used while its exchange goes on, or a packet sent before the journal holds it.
"""

from mqtt5 import PubAckPacket, PubCompPacket, PubRecPacket, PubRelPacket, QoS

from appliance.mqtt.exchanges import ExchangeState, ExchangeStep, Outgoing, Resumption, withdrawal
from appliance.mqtt.framing import FramingFault
from appliance.mqtt.inflight import PacketIds
from appliance.mqtt.journal import Journal, Saved
from appliance.mqtt.output import Output
from appliance.mqtt.requests import Strays
from appliance.mqtt.terms import BrokerCapabilities, MessageProperties, encoded_message, refuses, require
from appliance.mqtt.violations import protocol_error


class Sending:
    """See the module's docstring. Queues packets in ``out``; with ``manual`` the caller sends the PUBRELs.

    ``strays`` counts acknowledgements that answer nothing of ours.
    """

    __slots__ = ("_ids", "_journal", "_manual", "_reply", "_strays", "_write", "outgoing", "strays")

    def __init__(self, ids: PacketIds, out: Output, journal: Journal | None, saved: Saved, *, manual: bool) -> None:
        self.outgoing = Outgoing(saved.outgoing)
        self.strays = 0
        self._ids = ids
        self._write = out.write
        self._reply = out.acknowledge
        self._journal = journal
        self._manual = manual
        self._strays = Strays()
        for packet_id, _ in saved.outgoing:
            ids.claim(packet_id)

    # Connections

    def resume(self, limits: BrokerCapabilities, *, kept: bool) -> Resumption:
        """Start a connection: send again what is under way. ``kept``: the broker has kept the session."""
        resumption = self.outgoing.resume(
            limits.receive_max, kept=kept, sendable=lambda encoded: limits.objection(encoded) is None
        )
        for packet_id in resumption.ended:
            self._ended(packet_id)
        for packet_id in resumption.withdrawn:
            self._hold(packet_id, withdrawal(packet_id))
        self._continue()
        return resumption

    def flushed(self) -> None:
        """Note that all that was queued was taken to be sent."""
        self._strays.sent()

    # The caller

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: QoS,
        properties: MessageProperties,
        limits: BrokerCapabilities,
        *,
        retain: bool,
        packet_id: int | None,
        duplicate: bool,
    ) -> int:
        """See ``Session.publish``."""
        if qos == QoS.AT_MOST_ONCE:
            packet_id = None
        elif packet_id is None:
            packet_id = self._ids.take()
        else:
            self._ids.claim(packet_id)
        try:
            encoded = encoded_message(topic, payload, qos, packet_id, properties, retain=retain, duplicate=duplicate)
            require(limits.objection(encoded))
        except BaseException:
            if packet_id is not None:
                self._ids.give_back(packet_id)
            raise
        if packet_id is not None:
            self._hold(packet_id, encoded)
            self.outgoing.add(packet_id, encoded)
        self._write(encoded)
        return packet_id or 0

    def release(self, packet: PubRelPacket) -> None:
        """Send a PUBREL of the caller. An id that we know nothing of is one of a former process: its exchange goes on.

        Raises ValueError for a message that is not answered by PUBREC yet, or is not of QoS 2.
        """
        packet_id = packet.packet_id
        if packet_id not in self.outgoing:
            self._ids.claim(packet_id)
        elif self.outgoing.stage(packet_id) in (None, ExchangeState.PUBLISHED):
            raise ValueError(f"the message with packet id {packet_id} is not answered by PUBREC: nothing to release")
        self._release(packet)

    # The broker

    def acknowledged(self, packets: list[PubAckPacket]) -> tuple[list[PubAckPacket], FramingFault | None]:
        """Return the PUBACKs that end a message of ours, and the fault of one that answers a message of QoS 2."""
        known = [packet for packet in packets if self.outgoing.acknowledge(packet.packet_id)]
        for packet in known:
            self._ended(packet.packet_id)
        if len(known) != len(packets):
            self.strays += len(packets) - len(known)
            if any(self.outgoing.stage(packet.packet_id) is not None for packet in packets):
                return known, protocol_error("PubAckPacket for a QoS 2 message")
        self._continue()
        return known, None

    def received(self, packets: list[PubRecPacket]) -> tuple[list[PubRecPacket], FramingFault | None]:
        """Take in PUBRECs: release the messages, or end those that are refused. Return as ``acknowledged``."""
        known: list[PubRecPacket] = []
        for packet in packets:
            refused = refuses(packet.reason_code)
            if not self.outgoing.answered(packet.packet_id, ExchangeStep.REFUSED if refused else ExchangeStep.PUBREC):
                fault = self.stray(packet)
                if fault is not None:
                    return known, fault
                continue
            known.append(packet)
            if refused:
                self._ended(packet.packet_id)
            elif not self._manual:
                self._release(PubRelPacket(packet.packet_id))
        self._continue()
        return known, None

    def completed(self, packets: list[PubCompPacket]) -> tuple[list[PubCompPacket], FramingFault | None]:
        """Take in PUBCOMPs. Return as ``acknowledged``."""
        known: list[PubCompPacket] = []
        for packet in packets:
            if self.outgoing.answered(packet.packet_id, ExchangeStep.PUBCOMP):
                known.append(packet)
                self._ended(packet.packet_id)
                continue
            fault = self.stray(packet)
            if fault is not None:
                return known, fault
        self._continue()
        return known, None

    def stray(self, packet: PubRecPacket | PubRelPacket | PubCompPacket) -> FramingFault | None:
        """Answer what belongs to nothing of ours; return the fault of what no broker may send."""
        self.strays += 1
        if not isinstance(packet, PubRelPacket) and self.outgoing.waiting(packet.packet_id):
            return protocol_error(f"{type(packet).__name__} for a message that was not sent on this connection")
        answer = self._strays.answer(packet, ours=packet.packet_id in self.outgoing)
        if isinstance(answer, FramingFault):
            return answer
        if answer:
            self._write(answer)
        return None

    # Inner steps

    def _continue(self) -> None:
        """Send what of a former connection now may be sent."""
        for encoded in self.outgoing.due():
            self._write(encoded)

    def _release(self, packet: PubRelPacket) -> None:
        encoded = packet.write()
        if self.outgoing.stage(packet.packet_id) is not ExchangeState.RELEASED:  # else it is said again
            self._hold(packet.packet_id, encoded)
            self.outgoing.release(packet.packet_id, encoded)
        self._reply(encoded)  # as often as the broker says PUBREC

    def _hold(self, packet_id: int, packet: bytes) -> None:
        if self._journal is not None:
            self._journal.sent(packet_id, packet)

    def _ended(self, packet_id: int) -> None:
        """Free the packet id: its exchange is over."""
        self._ids.give_back(packet_id)
        if self._journal is not None:
            self._journal.settled(packet_id)
