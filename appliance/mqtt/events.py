"""The events that a session reports to its shell, one value each, in order."""

from dataclasses import dataclass
from typing import TypeAlias

from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectReasonCode,
    PubAckPacket,
    PublishPacket,
    SubAckPacket,
    UnsubAckPacket,
)


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us. ``given_up``: ids of waiting messages that its limits no longer allow."""

    connack: ConnAckPacket
    given_up: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Publishes:
    """All messages of one chunk. The QoS 1 ones among them are numbers ``first`` to ``first + count - 1``."""

    packets: list[PublishPacket]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class PubAcks:
    """The broker settled these messages of ours; reason codes from 0x80 are refusals."""

    packets: list[PubAckPacket]


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

Event: TypeAlias = Connected | Publishes | PubAcks | SubAck | UnsubAck | Ending
