"""What a broker must not send, as pure functions (MQTT 5 §4.13).

Enters: packets, or the first bytes of a peer. Leaves: the fault with the reason code to answer it, or nothing. Never:
an exception, whatever the peer is.
"""

from mqtt5 import ConnAckReasonCode, DisconnectReasonCode, PublishPacket

from appliance.mqtt.events import ConnectRefused
from appliance.mqtt.framing import FramingFault

_SHOWN_BYTES = 24

_OLD_ANSWERS = {
    2: ConnAckReasonCode.CLIENT_ID_NOT_VALID,
    3: ConnAckReasonCode.SERVER_UNAVAILABLE,
    4: ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    5: ConnAckReasonCode.NOT_AUTHORIZED,
}
"""The return codes of MQTT 3.1.1 (its §3.2.2.3) as reason codes. All others are about the version: 1 says so itself,
and 0, accepted, is of no use to us."""

_OLD_CONNACK_BYTES = 4

_PUBLISH = 3
_FLAGS = {0x1: 0x0, 0x2: 0x0, 0x4: 0x0, 0x5: 0x0, 0x6: 0x2, 0x7: 0x0, 0x8: 0x2, 0x9: 0x0, 0xA: 0x2, 0xB: 0x0,
          0xC: 0x0, 0xD: 0x0, 0xE: 0x0, 0xF: 0x0}  # fmt: skip
"""The flags of each packet type but PUBLISH, which may have any (§2.1.3)."""


def protocol_error(detail: str) -> FramingFault:
    """Return a fault for which there is no reason code of its own."""
    return FramingFault(DisconnectReasonCode.PROTOCOL_ERROR, detail)


def message_fault(packet: PublishPacket, free: int) -> FramingFault | None:
    """Return what is wrong with a message, None when nothing is. ``free``: how many more may be unacknowledged."""
    if packet.packet_id == 0:
        return protocol_error("a message with packet id 0")  # [MQTT-2.2.1-3]
    if "+" in packet.topic or "#" in packet.topic:
        return FramingFault(DisconnectReasonCode.TOPIC_NAME_INVALID, "a topic with a wildcard")  # [MQTT-3.3.2-2]
    if "\0" in packet.topic:
        return FramingFault(DisconnectReasonCode.MALFORMED_PACKET, "a topic with a NUL character")  # [MQTT-1.5.4-2]
    if free < 0:
        return FramingFault(
            DisconnectReasonCode.RECEIVE_MAX_EXCEEDED, "more unacknowledged messages than the receive maximum"
        )
    return None


class Opening:
    """The first bytes of a peer, which show what it speaks."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = b""

    def fault(self, data: bytes) -> FramingFault | None:
        """Take in a chunk; return a fault when the peer did not begin with an MQTT packet."""
        begun = bool(self._bytes)
        self._bytes = (self._bytes + data[:_OLD_CONNACK_BYTES])[:_OLD_CONNACK_BYTES]
        kind, flags = self._bytes[0] >> 4, self._bytes[0] & 0x0F
        if begun or kind == _PUBLISH or _FLAGS.get(kind) == flags:
            return None
        return FramingFault(
            DisconnectReasonCode.MALFORMED_PACKET, f"what answers there is not MQTT, it says {data[:_SHOWN_BYTES]!r}"
        )

    def refusal(self) -> ConnectRefused | None:
        """Return what the CONNACK of an older MQTT means, None when the peer did not begin with one.

        It has two bytes behind its fixed header; in MQTT 5 at least the length of the properties follows (§3.2.2.3).
        """
        if len(self._bytes) < _OLD_CONNACK_BYTES or self._bytes[:2] != b"\x20\x02":
            return None
        reason = _OLD_ANSWERS.get(self._bytes[3], ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
        return ConnectRefused(reason, "it speaks only MQTT 3.1.1 or older, and MQTT 5 is needed")
