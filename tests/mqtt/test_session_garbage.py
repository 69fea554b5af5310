"""The claim that nothing a peer sends raises, over random and over broken bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt5 import (
    ConnAckPacket,
    DisconnectPacket,
    PingRespPacket,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    SubAckPacket,
)

from appliance.mqtt.events import Connected, ConnectRefused, PeerDisconnected, ProtocolFailure
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from tests.support.mqtt.scripted import connected_session, decoded, new_session, qos1, written

# The codec panics on text that is not UTF-8 and leaves the cause with sys.unraisablehook.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

VALID = written(
    qos1(1, b"payload", "tenant/a/device/b/telemetry"),
    PublishPacket("t", b"x", user_properties=[("name", "value")], content_type="text"),
    PubAckPacket(4, reason_str="why"),
    PublishPacket("t", b"exact", qos=QoS.EXACTLY_ONCE, packet_id=1),
    PubRecPacket(1),
    PubRecPacket(2, reason_code=PubRecReasonCode.QUOTA_EXCEEDED, reason_str="why"),
    PubCompPacket(1),
    PubRelPacket(3),
    SubAckPacket(5, []),
    PingRespPacket(),
    qos1(2),
    DisconnectPacket(reason_str="bye"),
)
HEADERS = st.sampled_from([0x20, 0x30, 0x32, 0x34, 0x3C, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0])


def survives(session: Session, chunks: list[bytes]) -> None:
    """The chunks raise nothing; an ending, if any, is the last event, and a failure is told to the peer."""
    events = [event for chunk in chunks for event in session.receive_data(chunk, 0.0)]
    endings = [event for event in events if isinstance(event, ProtocolFailure | PeerDisconnected | ConnectRefused)]
    assert endings in ([], events[-1:])
    assert (session.state is State.DISCONNECTED) == bool(endings)
    packets = decoded(session.data_to_send(0.0))
    if isinstance(events[-1] if events else None, ProtocolFailure):
        assert isinstance(packets[-1], DisconnectPacket)
    assert all(isinstance(packet, DisconnectPacket | PubRelPacket | PubCompPacket) for packet in packets if session.met)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_random_bytes_after_connect_never_raise(chunks: list[bytes]) -> None:
    session = new_session()
    session.connect(0.0)
    events = [event for chunk in chunks for event in session.receive_data(chunk, 0.0)]
    assert not any(isinstance(event, Connected) for event in events[1:])


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_random_bytes_while_connected_never_raise(chunks: list[bytes]) -> None:
    survives(connected_session(), chunks)


def busy_session(*, manual: bool) -> Session:
    """Return a session with two messages of QoS 2 under way."""
    session = connected_session(manual=manual)
    for _ in range(2):
        session.publish("t", b"x", QoS.EXACTLY_ONCE, retain=False)
    session.data_to_send(0.0)
    return session


@given(HEADERS, st.binary(max_size=40))
def test_random_bodies_behind_a_true_header_never_raise(header: int, body: bytes) -> None:
    for session in (connected_session(), busy_session(manual=False), busy_session(manual=True)):
        survives(session, [bytes([header, len(body)]) + body])


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(1, 100))
def test_one_wrong_byte_anywhere_never_raises(position: int, value: int, size: int) -> None:
    broken = VALID[:position] + bytes([value]) + VALID[position + 1 :]
    survives(busy_session(manual=False), [broken[start : start + size] for start in range(0, len(broken), size)])


@given(st.binary(max_size=40))
def test_a_random_connack_never_raises(body: bytes) -> None:
    session = new_session()
    session.connect(0.0)
    survives(session, [bytes([0x20, len(body)]) + body])


def test_the_valid_stream_these_are_made_from_is_valid() -> None:
    *_, last = connected_session().receive_data(VALID, 0.0)
    assert isinstance(last, PeerDisconnected)
    assert ConnAckPacket().write()[0] == 0x20
