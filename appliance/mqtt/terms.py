"""What a client tells a broker: the limits that both sides announce, and what goes with a message."""

from dataclasses import dataclass

from mqtt5 import ConnAckPacket

from appliance.mqtt.framing import PROTOCOL_MAX_PACKET


@dataclass(frozen=True, slots=True)
class Settings:
    """What we announce in CONNECT. Intervals are seconds, ``max_packet_size`` bytes.

    ``tolerance`` is not announced: how many messages beyond ``receive_max`` are taken before it is a protocol error.
    """

    identifier: str
    username: str | None = None
    password: bytes | None = None
    clean_start: bool = False
    session_expiry_interval: int = 0
    keep_alive: int = 60
    receive_max: int = 65535
    max_packet_size: int | None = None
    tolerance: int = 0


@dataclass(frozen=True, slots=True)
class MessageProperties:
    """What is told with a message beside its payload (MQTT 5 §3.3.2.3)."""

    expiry_interval: int | None = None
    """Seconds after which the broker drops it for whoever has not got it; None: never."""
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


PLAIN = MessageProperties()


@dataclass(frozen=True, slots=True)
class BrokerCapabilities:
    """What the broker takes, from its CONNACK (§3.2.2.3)."""

    receive_max: int = 65535
    max_packet_size: int = PROTOCOL_MAX_PACKET
    max_qos: int = 2
    retain_available: bool = True

    @classmethod
    def of(cls, connack: ConnAckPacket) -> "BrokerCapabilities":
        """Return the limits that a CONNACK states, the protocol's defaults where it states none."""
        return cls(
            receive_max=connack.receive_max,
            max_packet_size=connack.max_packet_size or PROTOCOL_MAX_PACKET,
            max_qos=connack.max_qos.value,
            retain_available=connack.retain_available,
        )

    def objection(self, encoded: bytes) -> str | None:
        """Return why this PUBLISH must not be sent to the broker, or None when it may."""
        if len(encoded) > self.max_packet_size:
            return f"the packet has {len(encoded)} bytes, the broker takes at most {self.max_packet_size}"
        if (encoded[0] >> 1) & 3 > self.max_qos:
            return f"the broker takes messages up to QoS {self.max_qos}"
        if encoded[0] & 1 and not self.retain_available:
            return "the broker keeps no retained messages"
        return None
