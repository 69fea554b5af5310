"""Claims about what the broker sends: QoS 2 is handed out once, acknowledgements keep their order, and aliases."""

import pytest
from mqtt5 import (
    ConnAckPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
)

from appliance.mqtt.events import Publishes, PubRels
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from tests.support.mqtt.scripted import accept, connected_session, failure, qos1, sent, written


def exact(packet_id: int, payload: bytes = b"x", *, duplicate: bool = False) -> PublishPacket:
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


def receive(session: Session, *packets: PublishPacket) -> Publishes:
    """Let the broker send messages; return those that are handed out."""
    [event] = session.receive_data(written(*packets), 0.0)
    assert isinstance(event, Publishes)
    return event


def reconnected(session: Session, *, kept: bool = True) -> None:
    session.connection_lost()
    accept(session, ConnAckPacket(session_present=kept))
    sent(session)


def test_a_message_of_qos_2_is_answered_by_pubrec_and_its_release_by_pubcomp() -> None:
    session = connected_session()
    event = receive(session, exact(7))
    assert (event.packets, event.first, event.count) == ([exact(7)], 0, 1)
    assert sent(session) == [], "nothing before its caller is done"
    assert session.acknowledge(1, 0, 1) == 1
    assert sent(session) == [PubRecPacket(7)]
    assert session.receive_data(PubRelPacket(7).write(), 0.0) == []
    assert sent(session) == [PubCompPacket(7)]
    assert session.receive_data(PubRelPacket(7).write(), 0.0) == []
    assert sent(session) == [PubCompPacket(7, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND)]
    assert receive(session, exact(7, b"new")).packets == [exact(7, b"new")]


def test_acknowledgements_of_all_kinds_leave_in_the_order_of_arrival() -> None:
    session = connected_session()
    packets = [exact(1), qos1(2), PublishPacket("t", b""), qos1(3), exact(4), qos1(5)]
    assert receive(session, *packets).count == 5
    assert session.acknowledge(1, 1, 4) == 0, "the first is not done"
    assert session.acknowledge(1, 0, 1) == 5
    assert sent(session) == [PubRecPacket(1), PubAckPacket(2), PubAckPacket(3), PubRecPacket(4), PubAckPacket(5)]


def test_what_was_acknowledged_is_not_handed_out_again() -> None:
    session = connected_session()
    receive(session, exact(7))
    session.acknowledge(1, 0, 1)
    reconnected(session)
    assert session.receive_data(exact(7, duplicate=True).write(), 0.0) == []
    assert sent(session) == [PubRecPacket(7)]
    assert session.receive_data(PubRelPacket(7).write(), 0.0) == []
    assert sent(session) == [PubCompPacket(7)]


def test_what_is_still_held_is_not_handed_out_again_and_answered_when_its_caller_is_done() -> None:
    session = connected_session()
    receive(session, exact(7), exact(8))
    reconnected(session)
    again = receive(session, exact(7, duplicate=True), exact(8, duplicate=True), exact(9), qos1(10))
    assert again.packets == [exact(9), qos1(10)]
    assert session.acknowledge(2, again.first, again.count) == 0, "older ones come first"
    assert session.acknowledge(1, 1, 1) == 1
    assert sent(session) == [], "the second waits for the first"
    assert session.acknowledge(1, 0, 1) == 1
    assert sent(session) == [PubRecPacket(7), PubRecPacket(8), PubRecPacket(9), PubAckPacket(10)]
    assert session.acknowledge(1, 0, 2) == 0, "and once only"


def test_what_is_acknowledged_between_two_connections_is_answered_on_the_next() -> None:
    session = connected_session()
    receive(session, exact(7), qos1(8))
    session.connection_lost()
    assert session.acknowledge(1, 0, 2) == 1, "QoS 1 comes again"
    accept(session, ConnAckPacket(session_present=True))
    sent(session)
    event = receive(session, exact(7, duplicate=True), qos1(8))
    assert event.packets == [qos1(8)]
    assert sent(session) == [PubRecPacket(7)]


def test_a_lost_session_begins_anew() -> None:
    session = connected_session()
    receive(session, exact(7), exact(8))
    session.acknowledge(1, 0, 1)
    reconnected(session, kept=False)
    assert receive(session, exact(7), exact(8)).packets == [exact(7), exact(8)]
    assert session.acknowledge(1, 1, 1) == 0, "of the session that is gone"


def test_an_id_that_is_not_answered_yet_may_neither_come_again_nor_be_released() -> None:
    for packet in (exact(7), PubRelPacket(7)):
        session = connected_session()
        receive(session, exact(7))
        assert failure(session, packet.write()).reason_code == DisconnectReasonCode.PROTOCOL_ERROR


def test_an_id_that_is_held_may_come_again_once_a_connection() -> None:
    session = connected_session()
    receive(session, exact(7))
    reconnected(session)
    session.receive_data(exact(7, duplicate=True).write(), 0.0)
    failure(session, exact(7, duplicate=True).write())


def test_a_refusal_of_ours_ends_the_exchange_and_the_id_is_free() -> None:
    session = connected_session()
    receive(session, exact(7), qos1(8))
    refusal = PubRecPacket(7, reason_code=PubRecReasonCode.QUOTA_EXCEEDED, reason_str="full")
    plain = PubAckPacket(8, reason_code=PubAckReasonCode.NOT_AUTHORIZED)
    session.answer(1, 0, refusal)
    session.answer(1, 1, plain)
    assert sent(session) == [], "an answer is sent once the message is settled"
    session.acknowledge(1, 0, 2)
    assert sent(session) == [refusal, plain]
    assert receive(session, exact(7, b"new")).packets == [exact(7, b"new")]


def test_more_messages_of_qos_2_than_the_receive_maximum_end_the_connection() -> None:
    session = connected_session(receive_max=2)
    receive(session, exact(1), exact(2))
    session.acknowledge(1, 0, 2)
    event = failure(session, exact(3).write())
    assert event.reason_code == DisconnectReasonCode.RECEIVE_MAX_EXCEEDED, "they count until they are over (§4.9)"


# The caller answers by itself


def test_releases_are_handed_out_once_a_connection_and_answered_by_the_caller() -> None:
    session = connected_session(manual=True)
    receive(session, exact(7))
    session.acknowledge(1, 0, 1)
    sent(session)
    assert session.receive_data(written(PubRelPacket(7), PubRelPacket(7)), 0.0) == [PubRels([PubRelPacket(7)])]
    assert sent(session) == []
    answer = PubCompPacket(7, reason_str="done")
    session.pubcomp(answer)
    assert sent(session) == [answer]
    assert session.receive_data(PubRelPacket(7).write(), 0.0) == [PubRels([PubRelPacket(7)])], "it did not get it"


# Topic aliases


def aliased(topic: str, alias: int, payload: bytes = b"") -> PublishPacket:
    return PublishPacket(topic, payload, topic_alias=alias)


def test_an_alias_stands_for_the_newest_topic_that_came_with_it() -> None:
    session = connected_session(topic_alias_max=2)
    packets = (aliased("a", 1), aliased("b", 2), aliased("", 1), aliased("c", 1), aliased("", 1), aliased("", 2))
    assert [packet.topic for packet in receive(session, *packets).packets] == ["a", "b", "a", "c", "c", "b"]


def test_a_message_with_an_alias_keeps_all_else() -> None:
    session = connected_session(topic_alias_max=1)
    full = PublishPacket(
        "a",
        b"payload",
        qos=QoS.EXACTLY_ONCE,
        retain=True,
        packet_id=3,
        duplicate=True,
        payload_format_indicator=1,
        message_expiry_interval=5,
        content_type="text/plain",
        response_topic="r",
        correlation_data=b"c",
        subscription_ids=[1, 2],
        topic_alias=1,
        user_properties=[("k", "v")],
    )
    receive(session, aliased("a", 1))
    data = full.write().replace(b"\x00\x01a", b"\x00\x00", 1)
    data = data[:1] + bytes([data[1] - 1]) + data[2:]
    [event] = session.receive_data(data, 0.0)
    assert isinstance(event, Publishes)
    assert event.packets == [full]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (aliased("", 1), DisconnectReasonCode.PROTOCOL_ERROR),
        (aliased("a", 3), DisconnectReasonCode.TOPIC_ALIAS_INVALID),
        (aliased("", 3), DisconnectReasonCode.TOPIC_ALIAS_INVALID),
    ],
)
def test_an_alias_without_its_topic_or_beyond_the_maximum_ends_the_connection(
    packet: PublishPacket, reason: DisconnectReasonCode
) -> None:
    session = connected_session(topic_alias_max=2)
    assert failure(session, packet.write()).reason_code == reason


def test_aliases_end_with_their_connection() -> None:
    session = connected_session(topic_alias_max=1)
    receive(session, aliased("a", 1))
    reconnected(session)
    assert "before its topic" in failure(session, aliased("", 1).write()).detail


def test_a_topic_that_is_no_name_gives_no_alias_its_meaning() -> None:
    session = connected_session(topic_alias_max=1)
    broken = aliased("a/??", 1).write().replace(b"a/??", b"a/#b")
    assert failure(session, broken).reason_code == DisconnectReasonCode.TOPIC_NAME_INVALID


# What one connection leaves to the next


def test_what_is_done_but_waits_for_an_older_message_is_not_forgotten_with_the_connection() -> None:
    session = connected_session()
    receive(session, exact(1), exact(2))
    assert session.acknowledge(1, 1, 1) == 0
    reconnected(session)
    assert session.receive_data(written(exact(1, duplicate=True), exact(2, duplicate=True)), 0.0) == []
    assert session.acknowledge(1, 0, 1) == 1
    assert sent(session) == [PubRecPacket(1), PubRecPacket(2)]


@pytest.mark.parametrize("connections", [1, 3])
def test_what_comes_again_is_answered_in_the_order_of_arrival_on_any_connection(connections: int) -> None:
    session = connected_session()
    receive(session, exact(1), exact(2))
    for _ in range(connections):
        reconnected(session)
        session.acknowledge(1, 1, 1)
        assert session.receive_data(written(exact(1, duplicate=True), exact(2, duplicate=True)), 0.0) == []
        assert sent(session) == [], "the older one is not done"
    session.acknowledge(1, 0, 1)
    assert sent(session) == [PubRecPacket(1), PubRecPacket(2)]


def test_what_comes_again_behind_a_new_message_is_answered_behind_it() -> None:
    session = connected_session()
    session.acknowledge(1, receive(session, exact(2)).first, 1)
    reconnected(session)
    event, behind = session.receive_data(written(exact(1), exact(2, duplicate=True), exact(3), qos1(4)), 0.0)
    assert isinstance(event, Publishes)
    assert isinstance(behind, Publishes)
    assert [packet.packet_id for packet in event.packets + behind.packets] == [1, 3, 4]
    assert sent(session) == []
    session.acknowledge(2, event.first, 1)
    assert sent(session) == [PubRecPacket(1), PubRecPacket(2)]
    session.acknowledge(2, behind.first, behind.count)
    assert sent(session) == [PubRecPacket(3), PubAckPacket(4)]


def test_what_is_answered_counts_once_when_it_comes_again() -> None:
    session = connected_session(receive_max=3)
    session.acknowledge(1, receive(session, exact(1), exact(2), exact(3)).first, 2)
    reconnected(session)
    again = [exact(number, duplicate=True) for number in (1, 2, 3)]
    assert session.receive_data(written(*again), 0.0) == []
    session.acknowledge(1, 2, 1)
    assert sent(session) == [PubRecPacket(number) for number in (1, 2, 3)]
    session.receive_data(PubRelPacket(2).write(), 0.0)
    assert receive(session, exact(2)).count == 1, "one of three is over"


@pytest.mark.parametrize("chunks", [1, 2])
def test_an_id_that_comes_twice_on_a_connection_ends_it_however_the_chunks_are(chunks: int) -> None:
    session = connected_session()
    if chunks == 2:
        receive(session, exact(1))
        session.receive_data(exact(1).write(), 0.0)
    else:
        publishes, _ = session.receive_data(written(exact(1), exact(1)), 0.0)
        assert isinstance(publishes, Publishes)
        assert publishes.packets == [exact(1)]
    assert session.state is State.DISCONNECTED


def test_a_message_that_comes_again_between_others_does_not_shift_their_numbers() -> None:
    session = connected_session()
    receive(session, exact(1))
    reconnected(session)
    data = written(qos1(5, b"before"), PingRespPacket(), exact(1, duplicate=True), qos1(6, b"behind"))
    first, second = session.receive_data(data, 0.0)
    assert isinstance(first, Publishes)
    assert isinstance(second, Publishes)
    session.acknowledge(2, first.first, first.count)
    session.acknowledge(2, second.first, second.count)
    assert sent(session) == [PubAckPacket(5)], "a message of an older connection is not done"
    session.acknowledge(1, 0, 1)
    assert sent(session) == [PubRecPacket(1), PubAckPacket(6)]


@pytest.mark.parametrize("before", [False, True])
def test_a_refusal_of_a_message_of_an_older_connection_is_its_answer(before: bool) -> None:
    session = connected_session()
    receive(session, exact(1))
    refusal = PubRecPacket(1, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)

    def refuse() -> None:
        session.answer(1, 0, refusal)
        session.acknowledge(1, 0, 1)

    reconnected(session)
    if before:
        refuse()
    assert session.receive_data(exact(1, duplicate=True).write(), 0.0) == []
    if not before:
        refuse()
    assert sent(session) == [refusal]
    assert receive(session, exact(1, b"new")).packets == [exact(1, b"new")]


def test_nothing_is_sent_behind_a_goodbye() -> None:
    session = connected_session()
    receive(session, exact(1))
    session.disconnect()
    assert session.acknowledge(1, 0, 1) == 1
    assert sent(session) == [DisconnectPacket()]
