"""What a session asked and was not answered yet, and answers to what it did not ask.

Enters: packets of either side. Leaves: faults, answers as bytes. Never: I/O.
"""

from collections.abc import Callable, Sequence

import mqtt5
from mqtt5 import (
    PubCompPacket,
    PubCompReasonCode,
    PubRecPacket,
    PubRelPacket,
    PubRelReasonCode,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubscribePacket,
)

from appliance.mqtt.framing import FramingFault
from appliance.mqtt.inflight import LAST_PACKET_ID, RESERVED_IDS, PacketIds
from appliance.mqtt.terms import BrokerCapabilities, Terms, require
from appliance.mqtt.violations import protocol_error


class Requests:
    """The SUBSCRIBE and UNSUBSCRIBE packets of one connection that wait for their answers.

    ``strays`` counts answers to none of them.
    """

    __slots__ = ("_ids", "_open", "strays")

    def __init__(self, ids: PacketIds) -> None:
        self.strays = 0
        self._ids = ids
        self._open: dict[int, tuple[type[mqtt5.Packet], int]] = {}  # packet id -> kind of the answer, its codes

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return RESERVED_IDS - len(self._open)

    def subscribe(self, filters: Sequence[TopicFilter], terms: Terms, limits: BrokerCapabilities) -> tuple[int, bytes]:
        """Return a new SUBSCRIBE and its packet id. Raises ValueError when the broker does not take it."""
        for entry in filters:
            require(limits.objection_to_filter(entry.pattern))
        if terms.subscription_id is not None:
            require(limits.objection_to_subscription_id())
        wanted, properties = list(filters), list(terms.user_properties)

        def packet(packet_id: int) -> SubscribePacket:
            return SubscribePacket(packet_id, wanted, subscription_id=terms.subscription_id, user_properties=properties)

        return self._add(packet, SubAckPacket, len(wanted), limits)

    def unsubscribe(self, patterns: Sequence[str], terms: Terms, limits: BrokerCapabilities) -> tuple[int, bytes]:
        """Return a new UNSUBSCRIBE and its packet id. Raises ValueError when the broker does not take it."""
        ended, properties = list(patterns), list(terms.user_properties)

        def packet(packet_id: int) -> UnsubscribePacket:
            return UnsubscribePacket(packet_id, ended, user_properties=properties)

        return self._add(packet, UnsubAckPacket, len(ended), limits)

    def _add(
        self,
        packet: Callable[[int], SubscribePacket | UnsubscribePacket],
        answer: type[SubAckPacket | UnsubAckPacket],
        codes: int,
        limits: BrokerCapabilities,
    ) -> tuple[int, bytes]:
        packet_id = self._ids.take()
        try:
            encoded = packet(packet_id).write()
            require(limits.objection_to_size(encoded))
        except BaseException:
            self._ids.give_back(packet_id)
            raise
        self._open[packet_id] = (answer, codes)
        return packet_id, encoded

    def settle(self, packet: SubAckPacket | UnsubAckPacket) -> FramingFault | bool:
        """Settle the request that this answers: return whether there is one, or the fault of the answer."""
        request = self._open.pop(packet.packet_id, None)
        if request is None:
            self.strays += 1
            return False
        self._ids.give_back(packet.packet_id)
        kind, codes = request
        if (kind, codes) == (type(packet), len(packet.reason_codes)):
            return True
        found = f"{type(packet).__name__} with {len(packet.reason_codes)} codes"
        return protocol_error(f"{found} where {kind.__name__} with {codes} was due")

    def clear(self) -> None:
        """Forget all: their connection is over, and no other one answers them."""
        for packet_id in self._open:
            self._ids.give_back(packet_id)
        self._open = {}


class Strays:
    """Answers to acknowledgements of QoS 2 that belong to nothing of ours: another client, or we in an earlier life,
    may have left an exchange in the session. The broker sends a PUBREL again on each connection until it is answered
    (MQTT 5 §4.4), so it must not cost the connection.
    """

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers = 0  # since bytes were last taken

    def sent(self) -> None:
        """Note that all answers were taken to be sent."""
        self._answers = 0

    def answer(self, packet: PubRecPacket | PubRelPacket | PubCompPacket, *, ours: bool) -> FramingFault | bytes:
        """Return what to answer, nothing if empty (§4.3.3). ``ours``: a QoS 1 message of ours has this packet id."""
        packet_id = packet.packet_id
        if not packet_id:
            return protocol_error(f"{type(packet).__name__} with packet id 0")  # [MQTT-2.2.1-3]
        if ours and not isinstance(packet, PubRelPacket):  # the ids of the two directions are apart
            return protocol_error(f"{type(packet).__name__} for a QoS 1 message")
        if isinstance(packet, PubCompPacket) or (packet.reason_code.value >= 0x80 and isinstance(packet, PubRecPacket)):
            return b""
        self._answers += 1
        if self._answers > LAST_PACKET_ID:  # who does not read must not fill our memory
            return protocol_error("more PUBREC and PUBREL than there are packet ids")
        if isinstance(packet, PubRecPacket):
            return PubRelPacket(packet_id, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND).write()
        return PubCompPacket(packet_id, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND).write()
