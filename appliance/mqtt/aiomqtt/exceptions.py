"""The exceptions of aiomqtt, and which of them our engine's errors and a broker's refusals become."""

from mqtt5 import ConnAckPacket, PubAckPacket, PubCompPacket, PubRecPacket, PubRelPacket, SubAckPacket, UnsubAckPacket

from appliance.mqtt import errors
from appliance.mqtt.terms import refuses


class ConnectError(Exception):
    """There is no connection to the broker, or it was lost."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"Not connected to {endpoint}")


class ProtocolError(Exception):
    """The broker broke the protocol."""


class NegativeAckError(Exception):
    """The broker answered with a reason code of refusal.

    ``packet_id`` is that of the answer, None for a CONNACK; ``reason_str`` is what the broker says beside the code.
    """

    def __init__(
        self,
        packet: ConnAckPacket
        | PubAckPacket
        | PubRecPacket
        | PubRelPacket
        | PubCompPacket
        | SubAckPacket
        | UnsubAckPacket,
    ) -> None:
        codes = packet.reason_codes if isinstance(packet, SubAckPacket | UnsubAckPacket) else [packet.reason_code]
        super().__init__(f"Negative {type(packet).__name__}: {', '.join(code.name for code in codes)}")
        self.packet_id = None if isinstance(packet, ConnAckPacket) else packet.packet_id
        self.reason_str = packet.reason_str


def require_success(packet: PubAckPacket | PubRecPacket | PubCompPacket | SubAckPacket | UnsubAckPacket) -> None:
    """Raise NegativeAckError for an answer that refuses."""
    codes = packet.reason_codes if isinstance(packet, SubAckPacket | UnsubAckPacket) else [packet.reason_code]
    if any(refuses(code) for code in codes):
        raise NegativeAckError(packet)


def entry_error(error: errors.ConnectError, endpoint: str) -> Exception:
    """Return what a program of aiomqtt expects when there is no first connection."""
    if error.connack is not None:
        return NegativeAckError(error.connack)
    if error.reason_code is not None:  # of an older MQTT, whose answer is no packet of MQTT 5
        return NegativeAckError(ConnAckPacket(reason_code=error.reason_code, reason_str=str(error)))
    if error.broken:
        return ProtocolError(str(error))
    cause = _system_error(error.__cause__)
    return ConnectError(endpoint) if cause is None else cause


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the system or of TLS for which no stream could be had: the first, of several addresses."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_system_error, error.exceptions)), None)
    if isinstance(error, ConnectionResetError | BrokenPipeError):  # there was a stream
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return _system_error(error.__cause__) if error is not None else None
