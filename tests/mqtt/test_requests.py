"""Claims about SUBSCRIBE and UNSUBSCRIBE, their packet ids, and acknowledgements of what nobody sent."""

import pytest
from mqtt5 import (
    ConnAckPacket,
    DisconnectReasonCode,
    Packet,
    PubAckPacket,
    PubCompPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
)

from appliance.mqtt.events import SubAck, UnsubAck
from appliance.mqtt.inflight import LAST_PACKET_ID, RESERVED_IDS
from tests.support.mqtt.scripted import accept, connected_session, failure, sent, written

GRANTED = SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


def test_subscriptions_are_requested_and_answered() -> None:
    session = connected_session()
    wanted = TopicFilter("a/#", max_qos=QoS.AT_LEAST_ONCE)
    packet_id = session.subscribe([wanted])
    other_id = session.unsubscribe(["b"])
    assert packet_id != other_id
    assert sent(session) == [SubscribePacket(packet_id, [wanted]), UnsubscribePacket(other_id, ["b"])]
    answers = [SubAckPacket(packet_id, [GRANTED]), UnsubAckPacket(other_id, [UnsubAckReasonCode.SUCCESS])]
    assert session.receive_data(written(*answers), 0.0) == [SubAck(answers[0]), UnsubAck(answers[1])]  # type: ignore[arg-type]


def test_an_answer_with_too_few_codes_is_a_protocol_error() -> None:
    session = connected_session()
    packet_id = session.subscribe([TopicFilter("a"), TopicFilter("b")])
    event = failure(session, SubAckPacket(packet_id, [GRANTED]).write())
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR


def test_requests_of_a_lost_connection_are_not_answered_on_the_next() -> None:
    session = connected_session()
    packet_id = session.subscribe([TopicFilter("a")])
    session.connection_lost()
    accept(session)
    assert session.receive_data(SubAckPacket(packet_id, [GRANTED]).write(), 0.0) == []


def test_an_answer_of_the_other_kind_is_a_protocol_error() -> None:
    session = connected_session()
    packet_id = session.unsubscribe(["a"])
    event = failure(session, SubAckPacket(packet_id, [GRANTED]).write())
    assert "SubAckPacket with 1 codes where UnsubAckPacket with 1 was due" in event.detail


def test_packet_ids_of_all_that_was_answered_refused_or_lost_are_free_again() -> None:
    session = connected_session(ConnAckPacket(max_packet_size=100))
    for _ in range(2):
        for number in range(LAST_PACKET_ID):
            packet_id = session.publish("t", b"", QoS.AT_LEAST_ONCE, retain=False)
            session.receive_data(PubAckPacket(packet_id).write(), 0.0)
            if number % 1000 == 0:
                session.data_to_send(0.0)
                with pytest.raises(ValueError, match="at most 100"):
                    session.publish("t", bytes(100), QoS.AT_LEAST_ONCE, retain=False)
                with pytest.raises(ValueError, match="at most 100"):
                    session.unsubscribe(["t" * 100])
        for _ in range(RESERVED_IDS):
            session.subscribe([TopicFilter("a")])
        assert session.request_room == 0
        session.connection_lost()
        accept(session, ConnAckPacket(max_packet_size=100))


# Acknowledgements of what nobody sent


@pytest.mark.parametrize("packet", [PubRecPacket(0), PubRelPacket(0), PubCompPacket(0)])
def test_an_acknowledgement_of_packet_id_0_is_a_protocol_error(packet: Packet) -> None:
    event = failure(connected_session(), packet.write())
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [PubRecPacket, PubCompPacket])
def test_an_acknowledgement_of_qos_2_for_a_message_of_qos_1_is_a_protocol_error(
    kind: type[PubRecPacket | PubCompPacket],
) -> None:
    session = connected_session()
    packet_id = session.publish("t", b"", QoS.AT_LEAST_ONCE, retain=False)
    assert "for a QoS 1 message" in failure(session, kind(packet_id).write()).detail


def test_a_refused_exchange_of_qos_2_is_over_and_not_answered() -> None:
    session = connected_session()
    session.receive_data(PubRecPacket(3, reason_code=PubRecReasonCode.QUOTA_EXCEEDED).write(), 0.0)
    assert sent(session) == []


def test_a_broker_that_releases_and_never_reads_does_not_fill_our_memory() -> None:
    session = connected_session()
    chunk = written(*[PubRelPacket(number) for number in range(1, 1001)])
    for _ in range(65):
        assert session.receive_data(chunk, 0.0) == []
    assert len(session.data_to_send(0.0)) == 65_000 * 5
    for _ in range(65):
        session.receive_data(chunk, 0.0)
    event = failure(session, chunk)
    assert event.reason_code == DisconnectReasonCode.PROTOCOL_ERROR
