"""Claims about what a broker must not send, and about peers that are none."""

import pytest
from mqtt5 import DisconnectReasonCode, PublishPacket

from appliance.mqtt.events import ProtocolFailure, Publishes
from tests.support.mqtt.scripted import connected_session, new_session, qos1, written


@pytest.mark.parametrize("level", [b"+", b"#", b"x+", b"\0"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_that_is_no_name_is_not_delivered_and_ends_the_connection(level: bytes, qos: int) -> None:
    session = connected_session()
    packet = qos1(7, topic="a/??") if qos else PublishPacket("a/??", b"")
    broken = packet.write().replace(b"a/??", (b"a/" + level).ljust(4, b"z"))
    publishes, event = session.receive_data(written(qos1(6, topic="a/b")) + broken + written(qos1(8)), 0.0)
    assert isinstance(publishes, Publishes)
    assert [packet.topic for packet in publishes.packets] == ["a/b"]
    assert isinstance(event, ProtocolFailure)
    expected = DisconnectReasonCode.MALFORMED_PACKET if level == b"\0" else DisconnectReasonCode.TOPIC_NAME_INVALID
    assert event.reason_code == expected


def test_a_payload_may_hold_what_a_topic_may_not() -> None:
    [publishes] = connected_session().receive_data(qos1(1, b"+#\0").write(), 0.0)
    assert isinstance(publishes, Publishes)


def test_what_is_no_mqtt_is_a_fault_at_its_first_byte() -> None:
    first_bytes = set(range(256))
    for first in first_bytes:
        session = new_session()
        session.connect(0.0)
        events = session.receive_data(bytes([first]), 0.0)
        kind, flags = first >> 4, first & 0x0F
        mqtt = kind == 3 or (kind and flags == (2 if kind in (6, 8, 10) else 0))
        assert bool(events) is not bool(mqtt), hex(first)
