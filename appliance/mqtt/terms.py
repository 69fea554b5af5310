"""What a client tells a broker: the limits that both sides announce, and what goes with a message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from mqtt5 import (
    AuthPacket,
    ConnAckPacket,
    ConnectPacket,
    PubAckReasonCode,
    PubCompReasonCode,
    PublishPacket,
    PubRecReasonCode,
    QoS,
    SubAckReasonCode,
    UnsubAckReasonCode,
    Will,
)

from appliance.mqtt.framing import PROTOCOL_MAX_PACKET

UserProperties: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values; a name may come twice, and the order is kept (MQTT 5 §2.2.2.2)."""

Authenticate: TypeAlias = Callable[[AuthPacket], bytes | None]
"""Returns the data that answer a step of the broker's authentication (§4.12). Quick, and never waits. Raises ValueError
with the reason to end the connection instead."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What we announce in CONNECT (MQTT 5 §3.1). Intervals are seconds, ``max_packet_size`` bytes.

    ``will`` is the message that the broker publishes for us when the connection ends otherwise than by a normal
    DISCONNECT (§3.1.2.5). ``topic_alias_max`` is how many topic aliases the broker may use (§3.1.2.11.5).
    Not announced: ``tolerance``, how many messages beyond ``receive_max`` are taken before it is a protocol error;
    ``authenticate``, which goes on with ``authentication_method`` when the broker asks; ``manual``, that the caller
    sends PUBREL and PUBCOMP of QoS 2 by itself.
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
    will: Will | None = None
    topic_alias_max: int = 0
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    authenticate: Authenticate | None = None
    manual: bool = False
    request_problem_info: bool = True
    request_response_info: bool = False
    user_properties: UserProperties = ()

    def connect_packet(self, identifier: str, *, clean_start: bool) -> ConnectPacket:
        """Return the CONNECT that opens a connection, with the identifier that we have by now."""
        return ConnectPacket(
            identifier,
            username=self.username,
            password=self.password,
            clean_start=clean_start,
            will=self.will,
            keep_alive=self.keep_alive,
            session_expiry_interval=self.session_expiry_interval,
            authentication_method=self.authentication_method,
            authentication_data=self.authentication_data,
            request_problem_info=self.request_problem_info,
            request_response_info=self.request_response_info,
            receive_max=self.receive_max,
            topic_alias_max=self.topic_alias_max,
            max_packet_size=self.max_packet_size,
            user_properties=list(self.user_properties),
        )


@dataclass(frozen=True, slots=True)
class MessageProperties:
    """What is told with a message beside its payload (MQTT 5 §3.3.2.3)."""

    expiry_interval: int | None = None
    """Seconds after which the broker drops it for whoever has not got it; None: never."""
    content_type: str | None = None
    response_topic: str | None = None
    """Where an answer is expected (§4.10)."""
    correlation_data: bytes | None = None
    user_properties: UserProperties = ()


PLAIN = MessageProperties()


@dataclass(frozen=True, slots=True)
class Terms:
    """What goes with all filters of a SUBSCRIBE, or patterns of an UNSUBSCRIBE (MQTT 5 §3.8.2.1, §3.10.2.1).

    ``subscription_id``, 1 to 268,435,455, comes back with each message for these filters.
    """

    subscription_id: int | None = None
    user_properties: UserProperties = ()


NO_TERMS = Terms()


def encoded_message(
    topic: str,
    payload: bytes,
    qos: QoS,
    packet_id: int | None,
    properties: MessageProperties,
    *,
    retain: bool,
    duplicate: bool = False,
) -> bytes:
    """Return a PUBLISH as bytes. Raises ValueError for what cannot be encoded."""
    return PublishPacket(
        topic,
        payload,
        qos=qos,
        retain=retain,
        packet_id=packet_id,
        duplicate=duplicate,
        message_expiry_interval=properties.expiry_interval,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
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
    subscription_ids_available: bool = True

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
            subscription_ids_available=connack.subscription_id_available,
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

    def objection_to_subscription_id(self) -> str | None:
        """Return why no SUBSCRIBE may have a subscription id (§3.2.2.3.12), or None when it may."""
        return None if self.subscription_ids_available else "the broker has no subscription ids"

    def objection_to_filter(self, pattern: str) -> str | None:
        """Return why the broker must not be asked for this filter (§3.2.2.3.11, §3.2.2.3.13), or None when it may."""
        if not self.shared_available and pattern.startswith("$share/"):
            return "the broker has no shared subscriptions"
        if not self.wildcards_available and ("+" in pattern or "#" in pattern):
            return "the broker takes no filters with wildcards"
        return None


def refuses(
    code: PubAckReasonCode | PubRecReasonCode | PubCompReasonCode | SubAckReasonCode | UnsubAckReasonCode,
) -> bool:
    """Return whether a reason code is a refusal: those from 0x80 on are (MQTT 5 §2.4).

    mqtt5's codes have a value but, other than its type stubs say, are not ordered, not hashable, and never false.
    """
    return code.value >= 0x80


def require(objection: str | None) -> None:
    """Raise ValueError for an objection."""
    if objection is not None:
        raise ValueError(objection)
