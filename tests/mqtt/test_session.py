"""Claims about the session, against scripted byte streams."""

import math

import pytest
from mqtt5 import (
    AuthPacket,
    ConnAckPacket,
    ConnAckReasonCode,
    ConnectPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    Packet,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubscribePacket,
)

from appliance.mqtt.events import (
    Connected,
    ConnectRefused,
    KeepAliveExpired,
    PeerDisconnected,
    ProtocolFailure,
    PubAcks,
    Publishes,
)
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from appliance.mqtt.terms import MessageProperties
from tests.support.mqtt.scripted import accept, connected_session, failure, flattened, new_session, qos1, sent, written

GRANTED = SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


# Connecting


def test_connect_says_who_we_are_and_what_we_want() -> None:
    session = new_session(
        username="u", password=b"p", clean_start=True, session_expiry_interval=7, keep_alive=9, receive_max=4096
    )
    session.connect(0.0)
    [packet] = sent(session)
    assert isinstance(packet, ConnectPacket)
    assert (packet.client_id, packet.username, packet.password) == ("scripted", "u", b"p")
    assert (packet.clean_start, packet.session_expiry_interval) == (True, 7)
    assert (packet.keep_alive, packet.receive_max) == (9, 4096)


def test_a_clean_start_is_not_repeated_once_the_broker_has_accepted_us() -> None:
    session = connected_session(clean_start=True)
    session.connection_lost()
    session.connect(0.0)
    [packet] = sent(session)
    assert isinstance(packet, ConnectPacket)
    assert not packet.clean_start


def test_the_connack_sets_limits_keep_alive_and_identifier() -> None:
    connack = ConnAckPacket(
        receive_max=5, max_packet_size=99, max_qos=QoS.AT_LEAST_ONCE, retain_available=False,
        server_keep_alive=3, assigned_client_id="given",
    )  # fmt: skip
    session = connected_session(connack)
    assert (session.limits.receive_max, session.limits.max_packet_size) == (5, 99)
    assert (session.limits.max_qos, session.limits.retain_available) == (1, False)
    assert session.identifier == "given"
    assert session.room == 5
    assert session.next_deadline() == 3
    session.connection_lost()
    session.connect(0.0)
    [packet] = sent(session)
    assert isinstance(packet, ConnectPacket)
    assert packet.client_id == "given", "else the broker would give another one, and a new session with it"


def test_a_refusal_is_an_event_with_its_reason_and_ends_the_connection() -> None:
    session = new_session()
    connack = ConnAckPacket(reason_code=ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD, reason_str="no")
    [event] = accept(session, connack)
    assert event == ConnectRefused(ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD, "no", connack)
    assert session.state is State.DISCONNECTED
    assert sent(session) == []


def test_a_session_present_after_a_clean_start_is_a_protocol_error() -> None:
    session = new_session(clean_start=True)
    session.connect(0.0)
    event = failure(session, ConnAckPacket(session_present=True).write())
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_second_connack_is_a_protocol_error(chunks: int) -> None:
    session = new_session()
    session.connect(0.0)
    if chunks == 2:
        session.receive_data(ConnAckPacket().write(), 0.0)
        event = failure(session, ConnAckPacket().write())
    else:
        event = failure(session, ConnAckPacket().write() * 2)
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize("packet", [PingRespPacket(), qos1(1), PubAckPacket(1), DisconnectPacket(), AuthPacket()])
def test_anything_but_a_connack_first_is_a_protocol_error(packet: Packet) -> None:
    session = new_session()
    session.connect(0.0)
    assert failure(session, packet.write()).reason_code == DisconnectReasonCode.PROTOCOL_ERROR


def test_nothing_can_be_connected_twice() -> None:
    session = connected_session()
    with pytest.raises(KeyError):
        session.connect(0.0)


# Packets that have no business here


@pytest.mark.parametrize(
    "packet",
    [
        ConnectPacket("x"),
        SubscribePacket(1, [TopicFilter("a")]),
        UnsubscribePacket(1, ["a"]),
        PingReqPacket(),
        AuthPacket(),
    ],
)
def test_a_packet_a_broker_may_not_send_is_a_protocol_error_and_says_which(packet: Packet) -> None:
    event = failure(connected_session(), packet.write())
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR
    assert type(packet).__name__ in event.detail


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (PublishPacket("t", b"", topic_alias=1), DisconnectReasonCode.TOPIC_ALIAS_INVALID),
        (PublishPacket("", b"", topic_alias=1), DisconnectReasonCode.TOPIC_ALIAS_INVALID),
        (qos1(0), DisconnectReasonCode.PROTOCOL_ERROR),
    ],
)
def test_a_message_we_did_not_allow_ends_the_connection_after_those_before_it(
    packet: PublishPacket, reason: DisconnectReasonCode
) -> None:
    session = connected_session()
    publishes, event = session.receive_data(written(qos1(5), PublishPacket("t", b""), packet, qos1(6)), 0.0)
    assert isinstance(publishes, Publishes)
    assert publishes.packets == [qos1(5), PublishPacket("t", b"")]
    assert publishes.count == 1
    assert isinstance(event, ProtocolFailure)
    assert event.reason_code == reason


def test_more_messages_than_the_receive_maximum_end_the_connection() -> None:
    session = connected_session(receive_max=3)
    [publishes] = session.receive_data(written(qos1(1), PublishPacket("t", b""), qos1(2)), 0.0)
    assert isinstance(publishes, Publishes)
    session.acknowledge(1, 0, 1)
    sent(session)
    event = failure(session, written(qos1(3), qos1(4), qos1(5)))
    assert event.reason_code == DisconnectReasonCode.RECEIVE_MAX_EXCEEDED


def test_an_overrun_within_the_tolerance_is_taken_and_shown_until_enough_is_acknowledged() -> None:
    session = connected_session(receive_max=2, tolerance=2)
    session.receive_data(written(*[qos1(number) for number in range(1, 5)]), 0.0)
    shown = [session.overrun, session.acknowledge(1, 0, 2), session.overrun, session.acknowledge(1, 2, 2)]
    assert shown == [True, 2, False, 2]
    session.data_to_send(0.0)
    event = failure(session, written(*[qos1(number) for number in range(1, 6)]))
    assert event.reason_code == DisconnectReasonCode.RECEIVE_MAX_EXCEEDED


def test_a_malformed_packet_is_answered_with_its_reason() -> None:
    assert failure(connected_session(), b"\x00\x00").reason_code == DisconnectReasonCode.MALFORMED_PACKET


def test_a_packet_larger_than_we_announced_is_answered_with_its_reason() -> None:
    session = connected_session(max_packet_size=100)
    event = failure(session, PublishPacket("t", bytes(200)).write()[:10])
    assert event.reason_code == DisconnectReasonCode.PACKET_TOO_LARGE


def test_the_brokers_goodbye_is_an_event_with_its_reason() -> None:
    session = connected_session()
    goodbye = DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="twice")
    publishes, event = session.receive_data(written(qos1(1), goodbye, qos1(2)), 0.0)
    assert isinstance(publishes, Publishes)
    assert len(publishes.packets) == 1
    assert event == PeerDisconnected(DisconnectReasonCode.SESSION_TAKEN_OVER, "twice")
    assert session.state is State.DISCONNECTED


# Messages in


def test_all_messages_of_a_chunk_are_one_event_whatever_comes_between() -> None:
    session = connected_session()
    packet_id = session.publish("t", b"", QoS.AT_LEAST_ONCE, retain=False)
    data = written(qos1(1), PubAckPacket(packet_id), PublishPacket("t", b""), PingRespPacket(), qos1(2))
    publishes, acks = session.receive_data(data, 0.0)
    assert isinstance(publishes, Publishes)
    assert [packet.packet_id for packet in publishes.packets] == [1, None, 2]
    assert (publishes.first, publishes.count) == (0, 2)
    assert isinstance(acks, PubAcks)


def test_numbers_go_on_over_chunks_and_acknowledgements_leave_in_arrival_order() -> None:
    session = connected_session()
    events = [session.receive_data(written(*packets), 0.0)[0] for packets in ([qos1(7), qos1(8)], [qos1(9)])]
    first, second = (event for event in events if isinstance(event, Publishes))
    assert (second.first, second.count) == (2, 1)
    assert session.acknowledge(1, second.first, second.count) == 0
    assert session.data_to_send(0.0) == b""
    assert session.acknowledge(1, first.first, first.count) == 3
    assert sent(session) == [PubAckPacket(7), PubAckPacket(8), PubAckPacket(9)]


def test_acknowledgements_of_another_connection_are_dropped() -> None:
    session = connected_session()
    session.receive_data(qos1(1).write(), 0.0)
    session.connection_lost()
    assert session.acknowledge(1, 0, 1) == 0
    accept(session, ConnAckPacket(session_present=True))
    session.receive_data(qos1(1).write(), 0.0)
    assert session.acknowledge(1, 0, 1) == 0
    assert sent(session) == []
    assert session.acknowledge(2, 0, 1) == 1


# Messages out


def test_a_message_is_sent_and_settled_by_its_puback() -> None:
    session = connected_session()
    packet_id = session.publish("a/b", b"hello", QoS.AT_LEAST_ONCE, retain=True)
    expected = PublishPacket("a/b", b"hello", qos=QoS.AT_LEAST_ONCE, packet_id=packet_id, retain=True)
    assert sent(session) == [expected]
    answer = PubAckPacket(packet_id, reason_code=PubAckReasonCode.QUOTA_EXCEEDED)
    assert session.receive_data(answer.write(), 0.0) == [PubAcks([answer])]
    assert len(session.outgoing) == 0


def test_a_message_carries_its_properties() -> None:
    session = connected_session()
    properties = MessageProperties(60, "application/json", "t/answer", b"7", (("message-id", "a"), ("hop-count", "1")))
    packet_id = session.publish("t", b"{}", QoS.AT_LEAST_ONCE, retain=False, properties=properties)
    expected = PublishPacket(
        "t",
        b"{}",
        qos=QoS.AT_LEAST_ONCE,
        packet_id=packet_id,
        message_expiry_interval=60,
        content_type="application/json",
        response_topic="t/answer",
        correlation_data=b"7",
        user_properties=[("message-id", "a"), ("hop-count", "1")],
    )
    assert sent(session) == [expected]


def test_qos_0_needs_no_packet_id() -> None:
    session = connected_session()
    assert session.publish("a", b"", QoS.AT_MOST_ONCE, retain=False) == 0
    assert sent(session) == [PublishPacket("a", b"")]


@pytest.mark.parametrize("kind", [PubAckPacket(77), SubAckPacket(77, [GRANTED]), UnsubAckPacket(77, [])])
def test_answers_to_nothing_are_passed_over_and_counted(kind: Packet) -> None:
    session = connected_session()
    assert session.receive_data(kind.write() * 2, 0.0) == []
    assert session.unsolicited == 2
    assert session.state is State.CONNECTED


@pytest.mark.parametrize(
    ("connack", "qos", "payload", "retain"),
    [
        (ConnAckPacket(max_packet_size=50), QoS.AT_MOST_ONCE, bytes(60), False),
        (ConnAckPacket(max_qos=QoS.AT_MOST_ONCE), QoS.AT_LEAST_ONCE, b"", False),
        (ConnAckPacket(retain_available=False), QoS.AT_MOST_ONCE, b"", True),
    ],
)
def test_what_the_broker_does_not_take_is_not_sent(
    connack: ConnAckPacket, qos: QoS, payload: bytes, retain: bool
) -> None:
    session = connected_session(connack)
    with pytest.raises(ValueError, match="the broker"):
        session.publish("t", payload, qos, retain=retain)
    assert sent(session) == []
    assert len(session.outgoing) == 0


def test_a_resumed_session_gets_unacknowledged_messages_again_in_order_as_the_window_allows() -> None:
    session = connected_session()
    for payload in (b"1", b"2", b"3"):
        session.publish("t", payload, QoS.AT_LEAST_ONCE, retain=False)
    session.connection_lost()
    assert session.room == 0
    [event] = accept(session, ConnAckPacket(session_present=True, receive_max=2))
    assert isinstance(event, Connected)
    again = sent(session)
    assert [(p.payload, p.duplicate) for p in again if isinstance(p, PublishPacket)] == [(b"1", True), (b"2", True)]
    session.receive_data(PubAckPacket(1).write(), 0.0)
    [last] = sent(session)
    assert isinstance(last, PublishPacket)
    assert (last.payload, last.duplicate) == (b"3", True)


def test_a_message_the_new_broker_does_not_take_is_given_up_and_named() -> None:
    session = connected_session()
    packet_id = session.publish("t", bytes(100), QoS.AT_LEAST_ONCE, retain=False)
    session.connection_lost()
    [event] = accept(session, ConnAckPacket(max_packet_size=50))
    assert isinstance(event, Connected)
    assert event.resumption.refused == (packet_id,)
    assert len(session.outgoing) == 0


# Time


def test_a_ping_is_sent_when_due_and_silence_ends_the_connection() -> None:
    session = connected_session(keep_alive=10)
    assert session.next_deadline() == 10
    assert session.tick(9.9) == []
    assert sent(session) == []
    assert session.tick(10.0) == []
    assert sent(session, 10.0) == [PingReqPacket()]
    assert session.next_deadline() == 15
    assert session.tick(15.0) == [KeepAliveExpired(15.0)]
    assert session.state is State.DISCONNECTED
    assert session.next_deadline() == math.inf


def test_a_ping_response_keeps_it_alive() -> None:
    session = connected_session(keep_alive=10)
    session.tick(10.0)
    session.receive_data(PingRespPacket().write(), 11.0)
    assert session.tick(15.0) == []
    assert session.state is State.CONNECTED


# However the stream is cut

SCRIPT: list[Packet] = [
    ConnAckPacket(session_present=True, server_keep_alive=30),
    SubAckPacket(1, [GRANTED]),
    qos1(1, b"first", "tenant/a/device/b/telemetry"),
    PublishPacket("t", b"", message_expiry_interval=5, user_properties=[("a", "b")]),
    PingRespPacket(),
    PubAckPacket(900),
    qos1(2, bytes(200)),
    DisconnectPacket(reason_code=DisconnectReasonCode.SERVER_SHUTTING_DOWN),
]
STREAM = written(*SCRIPT)


def waiting_for_connack() -> Session:
    session = new_session()
    session.connect(0.0)
    return session


def test_every_cut_into_two_chunks_means_the_same() -> None:
    whole = flattened(waiting_for_connack().receive_data(STREAM, 0.0))
    assert len(whole) == 5  # SUBACK and PUBACK answer nothing, PINGRESP says nothing
    for cut in range(len(STREAM) + 1):
        session = waiting_for_connack()
        events = session.receive_data(STREAM[:cut], 0.0) + session.receive_data(STREAM[cut:], 0.0)
        assert flattened(events) == whole


def test_byte_by_byte_means_the_same() -> None:
    session = waiting_for_connack()
    events = [event for byte in STREAM for event in session.receive_data(bytes([byte]), 0.0)]
    assert flattened(events) == flattened(waiting_for_connack().receive_data(STREAM, 0.0))


def test_every_proper_prefix_means_its_complete_packets_and_nothing_else() -> None:
    ends = [len(written(*SCRIPT[: index + 1])) for index in range(len(SCRIPT))]
    for cut in range(len(STREAM)):
        complete = sum(end <= cut for end in ends)
        events = flattened(waiting_for_connack().receive_data(STREAM[:cut], 0.0))
        assert events == flattened(waiting_for_connack().receive_data(written(*SCRIPT[:complete]), 0.0))
        assert not any(isinstance(event, ProtocolFailure | PeerDisconnected) for event in events)
