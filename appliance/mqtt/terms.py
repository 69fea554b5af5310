"""What a client tells a broker: the limits that both sides announce, and what goes with a message."""

from dataclasses import dataclass

from mqtt5 import ConnAckPacket, PublishPacket, QoS

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


def encoded_message(
    topic: str, payload: bytes, qos: QoS, packet_id: int | None, properties: MessageProperties, *, retain: bool
) -> bytes:
    """Return a PUBLISH as bytes. Raises ValueError for what cannot be encoded."""
    return PublishPacket(
        topic,
        payload,
        qos=qos,
        retain=retain,
        packet_id=packet_id,
        message_expiry_interval=properties.expiry_interval,
        content_type=properties.content_type,
        user_properties=list(properties.user_properties),
    ).write()


@dataclass(frozen=True, slots=True)
class BrokerCapabilities:
    """What the broker takes, from its CONNACK (§3.2.2.3)."""

    receive_max: int = 65535
    max_packet_size: int = PROTOCOL_MAX_PACKET
    max_qos: int = 2
    retain_available: bool = True
    wildcards_available: bool = True
    shared_available: bool = True

    @classmethod
    def of(cls, connack: ConnAckPacket) -> "BrokerCapabilities":
        """Return the limits that a CONNACK states, the protocol's defaults where it states none."""
        return cls(
            receive_max=connack.receive_max,
            max_packet_size=connack.max_packet_size or PROTOCOL_MAX_PACKET,
            max_qos=connack.max_qos.value,
            retain_available=connack.retain_available,
            wildcards_available=connack.wildcard_subscription_available,
            shared_available=connack.shared_subscription_available,
        )

    def objection(self, encoded: bytes) -> str | None:
        """Return why this PUBLISH must not be sent to the broker, or None when it may."""
        objection = self.objection_to_size(encoded)
        if objection is not None:
            return objection
        if (encoded[0] >> 1) & 3 > self.max_qos:
            return f"the broker takes messages up to QoS {self.max_qos}"
        if encoded[0] & 1 and not self.retain_available:
            return "the broker keeps no retained messages"
        return None

    def objection_to_size(self, encoded: bytes) -> str | None:
        """Return why this packet is too large for the broker ([MQTT-3.2.2-15]), or None when it is not."""
        if len(encoded) > self.max_packet_size:
            return f"the packet has {len(encoded)} bytes, the broker takes at most {self.max_packet_size}"
        return None

    def objection_to_filter(self, pattern: str) -> str | None:
        """Return why the broker must not be asked for this filter (§3.2.2.3.11, §3.2.2.3.13), or None when it may."""
        if not self.shared_available and pattern.startswith("$share/"):
            return "the broker has no shared subscriptions"
        if not self.wildcards_available and ("+" in pattern or "#" in pattern):
            return "the broker takes no filters with wildcards"
        return None


def require(objection: str | None) -> None:
    """Raise ValueError for an objection."""
    if objection is not None:
        raise ValueError(objection)
