"""What an external broker grants our session: shown where it is less than the appliance needs."""

import pytest
from mqtt5 import ConnAckPacket, QoS

from appliance.broker.clients import SESSION_SECONDS
from appliance.broker.session_terms import DAY_SECONDS, SESSION_DAYS, shortfall


@pytest.mark.parametrize(
    "connack",
    [
        None,
        ConnAckPacket(),
        ConnAckPacket(session_expiry_interval=SESSION_DAYS * DAY_SECONDS),
        ConnAckPacket(session_expiry_interval=2**32 - 1),
    ],
)
def test_a_broker_that_keeps_our_session_for_a_week_or_says_nothing_falls_short_of_nothing(
    connack: ConnAckPacket | None,
) -> None:
    assert shortfall(connack, SESSION_SECONDS) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (59, "59 seconds"),
        (300, "5 minutes"),
        (3600, "1 hour"),
        (SESSION_DAYS * DAY_SECONDS - 1, "6 days"),
    ],
)
def test_a_session_that_is_kept_for_less_than_a_week_is_told_with_its_time(seconds: int, words: str) -> None:
    told = shortfall(ConnAckPacket(session_expiry_interval=seconds), SESSION_SECONDS)
    assert f"keeps our session for {words}, and 7 days are needed" in str(told)


def test_a_broker_without_qos_1_is_told() -> None:
    assert "no QoS 1" in str(shortfall(ConnAckPacket(max_qos=QoS.AT_MOST_ONCE), SESSION_SECONDS))
