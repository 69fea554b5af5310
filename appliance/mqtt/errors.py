"""The errors of the client; a broker that goes away and comes back raises none."""

import trio
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    PubAckReasonCode,
    PubRecReasonCode,
    SubAckReasonCode,
    UnsubAckReasonCode,
)

MOST_TEXT = 300
"""Characters of a broker's own words that are shown; it may send 65,535 bytes."""


class MqttError(Exception):
    """Anything that went wrong between us and a broker; the message is the whole story, for a person to read."""

    exit_code = 1
    """Of a program that ends with it."""


class ConnectError(MqttError):
    """No connection at the first try. What broke the stream, an OSError mostly, is the ``__cause__``, if anything did.

    ``reason_code`` is the broker's refusal, None if it was not reached; ``connack`` holds it whole, None of a broker
    that speaks an older MQTT; ``broken`` says that the peer broke the protocol.
    """

    def __init__(
        self,
        endpoint: str,
        detail: str,
        reason_code: ConnAckReasonCode | None = None,
        *,
        connack: ConnAckPacket | None = None,
        broken: bool = False,
    ) -> None:
        super().__init__(f"cannot connect to the MQTT broker at {endpoint}: {detail}")
        self.endpoint = endpoint
        self.reason_code = reason_code
        self.connack = connack
        self.broken = broken


class DisconnectedError(MqttError):
    """The client is closed, or its connection ended and it was told not to reconnect."""


class SessionLostError(MqttError):
    """Nobody knows whether messages of QoS 2 arrived: the broker lost the session, or no longer takes them.

    The second is a broker whose limits became smaller while they were under way. ``messages`` is how many. They are not
    sent again, since they would arrive twice if they had arrived.
    """

    def __init__(self, messages: int) -> None:
        why = "the broker lost our session, or no longer takes them"
        super().__init__(f"{why}: whether {counted(messages)} of QoS 2 arrived is not known")
        self.messages = messages


class NegativeAckError(MqttError):
    """The broker answered a PUBLISH, SUBSCRIBE or UNSUBSCRIBE with a reason code of 0x80 or above.

    ``reason`` is what the broker says beside the code, None if it says nothing; of several refusals, of the first.
    """

    def __init__(
        self,
        what: str,
        reason_code: PubAckReasonCode | PubRecReasonCode | SubAckReasonCode | UnsubAckReasonCode,
        reason: str | None,
        refused: int = 1,
    ) -> None:
        text = reason_code.name.lower().replace("_", " ")
        super().__init__(with_reason(f"the broker refused {what}: {text}", reason))
        self.reason_code = reason_code
        self.reason = reason
        self.refused = refused


def counted(messages: int) -> str:
    """Return the number of messages with its noun."""
    return "1 message" if messages == 1 else f"{messages} messages"


def with_reason(text: str, reason: str | None) -> str:
    """Return ``text`` with the broker's own words behind it, on one line and of bounded length, if there are any."""
    shown = "".join(letter if letter.isprintable() else " " for letter in reason or "").strip()
    if len(shown) > MOST_TEXT:
        shown = f"{shown[:MOST_TEXT]}..."
    return f"{text} ({shown})" if shown else text


def sole_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a group of one task's errors is about: SystemExit and KeyboardInterrupt first, cancellation last."""

    def weight(error: BaseException) -> int:
        return 2 if isinstance(error, trio.Cancelled) else int(isinstance(error, Exception))

    causes = [sole_cause(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return min(causes, key=weight)
