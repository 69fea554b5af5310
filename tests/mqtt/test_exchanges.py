"""Claims about our messages of QoS 2: what a broker may answer in each state, and what a reconnect sends again."""

from collections.abc import Callable

import pytest
from mqtt5 import (
    ConnAckPacket,
    Packet,
    PubAckPacket,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    PubRelReasonCode,
    QoS,
)

from appliance.mqtt.events import Connected, PubComps, PubRecs
from appliance.mqtt.exchanges import STEPS, ExchangeState, ExchangeStep
from appliance.mqtt.session import Session
from tests.support.mqtt.scripted import accept, connected_session, failure, sent, written

REFUSAL = PubRecReasonCode.QUOTA_EXCEEDED


def exact(packet_id: int, payload: bytes = b"x", *, duplicate: bool = False) -> PublishPacket:
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


def publish(session: Session, payload: bytes = b"x", qos: QoS = QoS.EXACTLY_ONCE) -> int:
    return session.publish("t", payload, qos, retain=False)


def in_state(state: ExchangeState) -> tuple[Session, int]:
    """Return a session whose one message is so far, and its packet id; what was sent is read away."""
    session = connected_session(manual=True)
    packet_id = publish(session)
    if state is not ExchangeState.PUBLISHED:
        session.receive_data(PubRecPacket(packet_id).write(), 0.0)
    if state is ExchangeState.RELEASED:
        session.pubrel(PubRelPacket(packet_id))
    assert session.outgoing.stage(packet_id) is state
    sent(session)
    return session, packet_id


def test_a_message_of_qos_2_is_published_released_and_over() -> None:
    session = connected_session()
    packet_id = publish(session)
    assert sent(session) == [exact(packet_id)]
    [event] = session.receive_data(PubRecPacket(packet_id).write(), 0.0)
    assert event == PubRecs([PubRecPacket(packet_id)])
    assert sent(session) == [PubRelPacket(packet_id)]
    assert len(session.outgoing) == 1
    [event] = session.receive_data(PubCompPacket(packet_id).write(), 0.0)
    assert event == PubComps([PubCompPacket(packet_id)])
    assert (len(session.outgoing), session._ids.in_use, sent(session)) == (0, 0, [])


ANSWERS: dict[ExchangeStep, Callable[[int], Packet]] = {
    ExchangeStep.PUBREC: PubRecPacket,
    ExchangeStep.REFUSED: lambda packet_id: PubRecPacket(packet_id, reason_code=REFUSAL),
    ExchangeStep.PUBCOMP: PubCompPacket,
}


@pytest.mark.parametrize("state", ExchangeState)
@pytest.mark.parametrize("step", ANSWERS)
def test_what_a_broker_may_answer_is_in_the_table_and_all_else_ends_the_connection(
    state: ExchangeState, step: ExchangeStep
) -> None:
    session, packet_id = in_state(state)
    data = ANSWERS[step](packet_id).write()
    if (state, step) not in STEPS:
        failure(session, data)
        return
    [event] = session.receive_data(data, 0.0)
    assert isinstance(event, PubRecs | PubComps)
    assert session.outgoing.stage(packet_id) is STEPS[state, step]
    assert session._ids.in_use == (STEPS[state, step] is not None)


@pytest.mark.parametrize("state", ExchangeState)
def test_a_puback_for_a_message_of_qos_2_is_a_protocol_error_and_the_message_stays(state: ExchangeState) -> None:
    session, packet_id = in_state(state)
    assert "for a QoS 2 message" in failure(session, PubAckPacket(packet_id).write()).detail
    assert (len(session.outgoing), session._ids.in_use) == (1, 1)


def test_a_refused_message_ends_with_its_pubrec() -> None:
    session = connected_session()
    packet_id = publish(session)
    sent(session)
    refusal = PubRecPacket(packet_id, reason_code=REFUSAL)
    assert session.receive_data(refusal.write(), 0.0) == [PubRecs([refusal])]
    assert (sent(session), session._ids.in_use) == ([], 0)


def test_a_broker_that_no_longer_knows_a_released_message_ends_its_exchange() -> None:
    session, packet_id = in_state(ExchangeState.RELEASED)
    unknown = PubCompPacket(packet_id, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND)
    assert session.receive_data(unknown.write(), 0.0) == [PubComps([unknown])]
    assert session._ids.in_use == 0


# Reconnecting


def test_a_kept_session_gets_releases_in_the_order_of_pubrecs_then_messages_in_their_own_marked_as_duplicates() -> None:
    session = connected_session()
    first, second, third = (publish(session, payload) for payload in (b"1", b"2", b"3"))
    fourth = publish(session, b"4", QoS.AT_LEAST_ONCE)
    session.receive_data(written(PubRecPacket(second), PubRecPacket(first)), 0.0)
    session.connection_lost()
    accept(session, ConnAckPacket(session_present=True))
    again = PublishPacket("t", b"4", qos=QoS.AT_LEAST_ONCE, packet_id=fourth, duplicate=True)
    assert sent(session) == [
        PubRelPacket(second),
        PubRelPacket(first),
        exact(third, b"3", duplicate=True),
        again,
    ]


def test_a_message_that_was_answered_is_never_sent_again_however_often_the_connection_is_lost() -> None:
    session, packet_id = in_state(ExchangeState.RECEIVED)
    for _ in range(3):
        session.connection_lost()
        accept(session, ConnAckPacket(session_present=True))
        assert sent(session) == []
    session.pubrel(PubRelPacket(packet_id))
    assert sent(session) == [PubRelPacket(packet_id)]


def test_messages_beyond_the_window_wait_and_answered_ones_count_until_pubcomp() -> None:
    session = connected_session(ConnAckPacket(receive_max=2))
    first, second = publish(session), publish(session)
    session.receive_data(written(PubRecPacket(first), PubRecPacket(second)), 0.0)
    assert session.room == 0
    session.receive_data(PubCompPacket(first).write(), 0.0)
    assert session.room == 1
    third = publish(session, b"3")
    session.connection_lost()
    accept(session, ConnAckPacket(session_present=True, receive_max=1))
    assert sent(session) == [PubRelPacket(second)], "one exchange is under way already"
    session.receive_data(PubCompPacket(second).write(), 0.0)
    assert sent(session) == [exact(third, b"3", duplicate=True)]


def test_a_lost_session_leaves_messages_in_doubt_or_arrived_and_sends_neither_again() -> None:
    session = connected_session()
    arrived, doubtful = publish(session, b"1"), publish(session, b"2")
    plain = publish(session, b"3", QoS.AT_LEAST_ONCE)
    session.receive_data(PubRecPacket(arrived).write(), 0.0)
    session.connection_lost()
    [event] = accept(session, ConnAckPacket(session_present=False))
    assert isinstance(event, Connected)
    assert (event.resumption.arrived, event.resumption.in_doubt) == ((arrived,), (doubtful,))
    assert sent(session) == [PublishPacket("t", b"3", qos=QoS.AT_LEAST_ONCE, packet_id=plain)]
    assert session._ids.in_use == 1


def test_a_stray_pubrec_for_a_message_that_waits_to_be_sent_again_does_not_release_it() -> None:
    session = connected_session()
    first, second = publish(session, b"1"), publish(session, b"2")
    session.connection_lost()
    accept(session, ConnAckPacket(session_present=True, receive_max=1))
    assert sent(session) == [exact(first, b"1", duplicate=True)]
    failure(session, PubRecPacket(second).write())
    assert len(session.outgoing) == 2


# The caller's steps


def test_a_caller_that_answers_by_itself_chooses_ids_and_releases() -> None:
    session = connected_session(manual=True)
    assert session.publish("t", b"x", QoS.EXACTLY_ONCE, retain=False, packet_id=4711, duplicate=True) == 4711
    assert sent(session) == [exact(4711, duplicate=True)]
    with pytest.raises(ValueError, match="packet id 4711 is in use"):
        session.publish("t", b"x", QoS.AT_LEAST_ONCE, retain=False, packet_id=4711)
    with pytest.raises(ValueError, match="not answered by PUBREC"):
        session.pubrel(PubRelPacket(4711))
    session.receive_data(PubRecPacket(4711).write(), 0.0)
    assert sent(session) == [], "the caller releases"
    release = PubRelPacket(4711, reason_str="now")
    session.pubrel(release)
    session.pubrel(release)
    assert sent(session) == [release, release]
    session.receive_data(PubCompPacket(4711).write(), 0.0)
    assert session._ids.in_use == 0


@pytest.mark.parametrize("packet_id", [0, -1, 65536])
def test_a_packet_id_that_is_none_is_a_value_error(packet_id: int) -> None:
    session = connected_session(manual=True)
    with pytest.raises(ValueError, match="1 to 65535"):
        session.publish("t", b"x", QoS.EXACTLY_ONCE, retain=False, packet_id=packet_id)
    assert session._ids.in_use == 0


def test_the_release_of_an_unknown_id_goes_on_with_an_exchange_of_a_former_process() -> None:
    session = connected_session(manual=True)
    session.pubrel(PubRelPacket(9))
    assert sent(session) == [PubRelPacket(9)]
    unknown = PubCompPacket(9, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND)
    assert session.receive_data(unknown.write(), 0.0) == [PubComps([unknown])]
    assert session._ids.in_use == 0


def test_a_pubrec_that_belongs_to_nothing_is_answered_that_we_know_nothing_of_it() -> None:
    for manual in (False, True):
        session = connected_session(manual=manual)
        assert session.receive_data(PubRecPacket(5).write(), 0.0) == []
        assert sent(session) == [PubRelPacket(5, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND)]
        assert session.unsolicited == 1
