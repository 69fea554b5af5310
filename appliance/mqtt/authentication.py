"""Our part of enhanced authentication (MQTT 5 §4.12). No I/O.

Enters: AUTH packets of the broker. Leaves: AUTH packets of ours, or the fault that ends the connection, by name.
"""

from mqtt5 import AuthPacket, AuthReasonCode, DisconnectReasonCode

from appliance.mqtt.framing import FramingFault
from appliance.mqtt.terms import Settings


def authentication_step(settings: Settings, packet: AuthPacket, *, connecting: bool) -> bytes | FramingFault:
    """Return our answer to an AUTH of the broker, or the fault that ends the connection (MQTT 5 §4.12)."""
    method = settings.authentication_method
    if method is None or not connecting:  # only a client begins to authenticate
        detail = f"AuthPacket: it asks us to authenticate by {packet.authentication_method!r}, which we did not begin"
        return FramingFault(DisconnectReasonCode.PROTOCOL_ERROR, detail)
    if packet.authentication_method != method:  # [MQTT-4.12.0-5]
        detail = f"it goes on with authentication by {packet.authentication_method!r}, we began one by {method!r}"
        return FramingFault(DisconnectReasonCode.PROTOCOL_ERROR, detail)
    if settings.authenticate is None:
        detail = f"authentication by {method!r} has a further step, and nothing here answers it (`authenticate`)"
        return FramingFault(DisconnectReasonCode.NOT_AUTHORIZED, detail)
    code = AuthReasonCode.CONTINUE_AUTHENTICATION
    try:
        data = settings.authenticate(packet)
        return AuthPacket(reason_code=code, authentication_method=method, authentication_data=data).write()
    except ValueError as error:  # its own, or of data that no packet holds
        return FramingFault(DisconnectReasonCode.NOT_AUTHORIZED, f"authentication by {method!r}: {error}")
