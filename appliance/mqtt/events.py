"""The events that a session reports to its shell, one value each, in order."""

from dataclasses import dataclass
from typing import TypeAlias

from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectReasonCode,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    SubAckPacket,
    UnsubAckPacket,
)

from appliance.mqtt.exchanges import Resumption


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us; ``resumption`` names messages of ours that are not sent again."""

    connack: ConnAckPacket
    resumption: Resumption


@dataclass(frozen=True, slots=True)
class Publishes:
    """All messages of one chunk. Those of QoS 1 and 2 among them are numbers ``first`` to ``first + count - 1``."""

    packets: list[PublishPacket]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class PubAcks:
    """The broker settled these messages of ours; reason codes from 0x80 are refusals."""

    packets: list[PubAckPacket]


@dataclass(frozen=True, slots=True)
class PubRecs:
    """The broker has these QoS 2 messages of ours, or refuses them (reason codes from 0x80), which ends them."""

    packets: list[PubRecPacket]


@dataclass(frozen=True, slots=True)
class PubComps:
    """The exchanges of these QoS 2 messages of ours are over."""

    packets: list[PubCompPacket]


@dataclass(frozen=True, slots=True)
class PubRels:
    """The broker releases these QoS 2 messages of its own, where the caller answers by itself (``Settings.manual``)."""

    packets: list[PubRelPacket]


@dataclass(frozen=True, slots=True)
class SubAck:
    """The answer to a SUBSCRIBE of ours, one code a filter."""

    packet: SubAckPacket


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """The answer to an UNSUBSCRIBE of ours, one code a filter."""

    packet: UnsubAckPacket


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """The broker refused CONNECT; the connection is over."""

    reason_code: ConnAckReasonCode
    detail: str
    connack: ConnAckPacket | None = None  # None of a broker that speaks an older MQTT


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The broker sent DISCONNECT with a reason; the connection is over."""

    reason_code: DisconnectReasonCode
    detail: str


@dataclass(frozen=True, slots=True)
class ProtocolFailure:
    """The broker broke the protocol; a DISCONNECT with this code is queued and the connection is over."""

    reason_code: DisconnectReasonCode
    detail: str


@dataclass(frozen=True, slots=True)
class KeepAliveExpired:
    """Nothing was received for ``silence`` seconds; the connection is dead."""

    silence: float


Ending: TypeAlias = ConnectRefused | PeerDisconnected | ProtocolFailure | KeepAliveExpired
"""Events after which nothing more comes on this connection."""

Event: TypeAlias = Connected | Publishes | PubAcks | PubRecs | PubComps | PubRels | SubAck | UnsubAck | Ending
