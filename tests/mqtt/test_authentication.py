"""Claims about enhanced authentication: the broker's steps are answered, or refused by name (MQTT 5 §4.12)."""

import re

import pytest
from mqtt5 import AuthPacket, AuthReasonCode, ConnAckPacket, ConnectPacket, DisconnectReasonCode

from appliance.mqtt.events import Connected
from appliance.mqtt.session import Session
from appliance.mqtt.terms import Authenticate
from tests.support.mqtt.scripted import failure, new_session, sent


def challenge(data: bytes = b"nonce", method: str = "SCRAM-SHA-1") -> AuthPacket:
    code = AuthReasonCode.CONTINUE_AUTHENTICATION
    return AuthPacket(reason_code=code, authentication_method=method, authentication_data=data)


def connecting(authenticate: Authenticate | None, method: str | None = "SCRAM-SHA-1") -> Session:
    session = new_session(authentication_method=method, authentication_data=b"first", authenticate=authenticate)
    session.connect(0.0)
    return session


def test_the_brokers_steps_are_answered_until_it_accepts_us() -> None:
    asked: list[bytes | None] = []

    def authenticate(packet: AuthPacket) -> bytes:
        asked.append(packet.authentication_data)
        return b"proof %d" % len(asked)

    session = connecting(authenticate)
    [connect] = sent(session)
    assert isinstance(connect, ConnectPacket)
    assert (connect.authentication_method, connect.authentication_data) == ("SCRAM-SHA-1", b"first")
    for number in (1, 2):
        assert session.receive_data(challenge(b"%d" % number).write(), 0.0) == []
        assert sent(session) == [challenge(b"proof %d" % number)]
    assert asked == [b"1", b"2"]
    [event] = session.receive_data(ConnAckPacket().write(), 0.0)
    assert isinstance(event, Connected)


def give_up(_: AuthPacket) -> bytes:
    raise ValueError("the broker does not know our secret")


@pytest.mark.parametrize(
    ("session", "packet", "reason", "words"),
    [
        (connecting(None), challenge(), DisconnectReasonCode.NOT_AUTHORIZED, "by 'SCRAM-SHA-1' has a further step"),
        (connecting(give_up), challenge(), DisconnectReasonCode.NOT_AUTHORIZED, "does not know our secret"),
        (
            connecting(None, None),
            challenge(),
            DisconnectReasonCode.PROTOCOL_ERROR,
            "by 'SCRAM-SHA-1', which we did not",
        ),
        (
            connecting(lambda _: bytes(70_000)),
            challenge(),
            DisconnectReasonCode.NOT_AUTHORIZED,
            "SHA-1': .*65535",
        ),
        (connecting(give_up), challenge(method="X"), DisconnectReasonCode.PROTOCOL_ERROR, "it goes on with .* by 'X'"),
    ],
    ids=["nobody answers", "given up", "not begun", "more than a packet holds", "another method"],
)
def test_what_cannot_go_on_is_refused_by_name(
    session: Session, packet: AuthPacket, reason: DisconnectReasonCode, words: str
) -> None:
    event = failure(session, packet.write())
    assert event.reason_code == reason
    assert re.search(words, event.detail)


def test_a_broker_that_begins_an_authentication_later_is_refused() -> None:
    session = connecting(give_up)
    session.receive_data(ConnAckPacket().write(), 0.0)
    assert failure(session, challenge().write()).reason_code == DisconnectReasonCode.PROTOCOL_ERROR
