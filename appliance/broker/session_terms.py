"""What an external broker grants our session, where that is less than the appliance needs.

Enters: the CONNACK of our session. Leaves: what is missing, in words for people, or nothing. Never: a refusal; messages
are stored meanwhile.
"""

from mqtt5 import ConnAckPacket

SESSION_DAYS = 7
"""Days for which a broker should keep our session while we are away, at least."""
DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS = 86_400, 3600, 60


def shortfall(connack: ConnAckPacket | None, asked_seconds: int) -> str | None:
    """Return what the broker does not do for us; None when it does all, or has said nothing.

    A broker that grants another session expiry than we asked for says which (MQTT 5 §3.2.2.3.2).
    """
    if connack is None:
        return None
    if connack.max_qos.value < 1:
        return "it takes no QoS 1: messages are lost while the connection is"
    granted = connack.session_expiry_interval
    kept = asked_seconds if granted is None else granted
    if kept < min(asked_seconds, SESSION_DAYS * DAY_SECONDS):
        return (
            f"it keeps our session for {_words(kept)}, and {SESSION_DAYS} days are needed:"
            " what devices send while the appliance is away for longer is lost"
        )
    return None


def _words(seconds: int) -> str:
    for unit, name in ((DAY_SECONDS, "day"), (HOUR_SECONDS, "hour"), (MINUTE_SECONDS, "minute")):
        if seconds >= unit:
            count = seconds // unit
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"{seconds} seconds"
