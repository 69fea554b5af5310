"""The states of a session's connection, and the steps between them as a table."""

from enum import Enum


class State(Enum):
    """The states of a session's connection."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"  # CONNECT is queued or sent
    CONNECTED = "connected"


class Step(Enum):
    """The steps between the states."""

    CONNECT = "connect"
    ACCEPTED = "accepted"
    ENDED = "ended"  # refused, DISCONNECT of either side, protocol failure, silence, stream lost


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.DISCONNECTED, Step.CONNECT): State.CONNECTING,
    (State.CONNECTING, Step.ACCEPTED): State.CONNECTED,
    (State.CONNECTING, Step.ENDED): State.DISCONNECTED,
    (State.CONNECTED, Step.ENDED): State.DISCONNECTED,
    (State.DISCONNECTED, Step.ENDED): State.DISCONNECTED,  # a stream may break after DISCONNECT
}
