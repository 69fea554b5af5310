"""How a connection ended, and how that is told to people. No I/O."""

from dataclasses import dataclass, field
from typing import TypeAlias

from mqtt5 import ConnAckReasonCode, DisconnectReasonCode

from appliance.mqtt.errors import ConnectError, with_reason
from appliance.mqtt.events import ConnectRefused, Ending, KeepAliveExpired, PeerDisconnected, ProtocolFailure


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream broke, or was closed without a DISCONNECT. ``cause`` is the exception that told, if one did."""

    detail: str
    cause: BaseException | None = field(default=None, compare=False)


Outcome: TypeAlias = Ending | StreamLost

CONTESTED = StreamLost("the broker closes our connections again and again: another client seems to use our client id")


def not_connected(endpoint: str, outcome: Outcome) -> ConnectError:
    """Return the error for a client whose first connection ended so."""
    code = connack = None
    if isinstance(outcome, ConnectRefused):
        code, connack = outcome.reason_code, outcome.connack
    broken = isinstance(outcome, ProtocolFailure)
    return ConnectError(endpoint, describe(outcome), code, connack=connack, broken=broken)


def describe(outcome: Outcome) -> str:
    """Return why a connection ended, for people."""
    match outcome:
        case ConnectRefused(reason_code, detail):
            return with_reason(f"the broker refused us: {_words(reason_code)}", detail)
        case PeerDisconnected(DisconnectReasonCode.SESSION_TAKEN_OVER, _):
            return "another client uses our client id: session taken over"
        case PeerDisconnected(reason_code, detail):
            return with_reason(f"the broker disconnected us: {_words(reason_code)}", detail)
        case ProtocolFailure(reason_code, detail):
            return with_reason(f"the broker broke the protocol: {_words(reason_code)}", detail)
        case KeepAliveExpired(silence):
            return f"nothing heard from the broker for {silence:.1f} s"
        case StreamLost(detail):
            return detail


def _words(code: ConnAckReasonCode | DisconnectReasonCode) -> str:
    return code.name.lower().replace("_", " ")


def taken_over(outcome: Outcome) -> bool:
    """Return whether another client uses our identifier, as far as one can tell."""
    if isinstance(outcome, PeerDisconnected):
        return outcome.reason_code == DisconnectReasonCode.SESSION_TAKEN_OVER
    return outcome == CONTESTED
