"""Claims about peers that answer QoS 2 wrongly, late, twice, for nothing or never."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import contextlib
from functools import partial

import mqtt5
import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    DisconnectReasonCode,
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
from trio.testing import MockClock

from appliance.mqtt import output
from appliance.mqtt.errors import NegativeAckError, SessionLostError
from appliance.mqtt.events import Connected
from appliance.mqtt.exchanges import ExchangeState
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from tests.support.mqtt.scripted import accept, connected_session, flattened, qos1, sent, written
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED, client_of, gathered
from tests.support.mqtt.unbuffered import Unbuffered, accepted

RELEASE = PubRelPacket(1)


def published(session: Session, payload: bytes = b"x") -> int:
    return session.publish("t", payload, QoS.EXACTLY_ONCE, retain=False)


def exact(packet_id: int, payload: bytes = b"x", *, duplicate: bool = False) -> PublishPacket:
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


# What comes twice, or for nothing


def test_a_pubrec_that_comes_again_is_answered_by_the_same_release_and_a_pubcomp_by_nothing() -> None:
    session = connected_session()
    published(session)
    sent(session)
    session.receive_data(PubRecPacket(1).write() * 3, 0.0)
    assert sent(session) == [RELEASE] * 3
    assert session.packet_ids.in_use == 1, "until PUBCOMP"
    session.receive_data(PubCompPacket(1).write() * 3, 0.0)
    assert sent(session) == []
    assert (session.state, len(session.outgoing), session.unsolicited) == (State.CONNECTED, 0, 2)


def test_answers_for_nothing_are_answered_by_name_and_cost_no_connection() -> None:
    session = connected_session()
    session.receive_data(written(PubRecPacket(9), PubRelPacket(9), PubCompPacket(9)), 0.0)
    assert sent(session) == [
        PubRelPacket(9, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND),
        PubCompPacket(9, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND),
    ]
    assert session.state is State.CONNECTED


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        (ExchangeState.PUBLISHED, PubAckPacket(1)),
        (ExchangeState.PUBLISHED, PubCompPacket(1)),
        (ExchangeState.RELEASED, PubAckPacket(1)),
        (ExchangeState.RELEASED, PubRecPacket(1, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)),
    ],
)
def test_an_answer_to_another_stage_ends_the_connection_and_the_message_goes_on_in_its_place(
    stage: ExchangeState, answer: mqtt5.Packet
) -> None:
    session = connected_session()
    assert (published(session), published(session, b"second")) == (1, 2)
    if stage is ExchangeState.RELEASED:
        session.receive_data(PubRecPacket(1).write(), 0.0)
    session.receive_data(answer.write(), 0.0)
    assert session.state is State.DISCONNECTED
    accept(session, RESUMED)
    first = RELEASE if stage is ExchangeState.RELEASED else exact(1, duplicate=True)
    assert sent(session) == [first, exact(2, b"second", duplicate=True)]


@pytest.mark.parametrize("packet", [PubRecPacket(0), PubRelPacket(0), PubCompPacket(0)])
def test_packet_id_0_ends_the_connection(packet: mqtt5.Packet) -> None:
    session = connected_session()
    session.receive_data(packet.write(), 0.0)
    assert session.state is State.DISCONNECTED


# What they say

REFUSALS = [
    code for name in dir(PubRecReasonCode) if name.isupper() and (code := getattr(PubRecReasonCode, name)).value
]


@pytest.mark.parametrize("reason", REFUSALS, ids=lambda reason: reason.name)
async def test_every_reason_of_a_pubrec_is_an_answer(
    broker: ScriptedBroker, autojump_clock: MockClock, reason: PubRecReasonCode
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        outcome: list[object] = []

        async def publish() -> None:
            try:
                await client.publish("t", b"x", qos=2)
                outcome.append(None)
            except NegativeAckError as refusal:
                outcome.append(refusal.reason_code)

        nursery.start_soon(publish)
        packet_id = (await peer.expect(PublishPacket)).packet_id or 0
        await peer.send(PubRecPacket(packet_id, reason_code=reason, reason_str="because"))
        if reason.value < 0x80:
            await peer.expect(PubRelPacket)
            await peer.send(PubCompPacket(packet_id))
        await trio.testing.wait_all_tasks_blocked()
        assert outcome == [None if reason.value < 0x80 else reason]
        assert not client._session.packet_ids.in_use


@pytest.mark.parametrize("header", [0x50, 0x62, 0x70])
@pytest.mark.parametrize("code", [0x01, 0x7F, 0x92, 0xFF])
def test_a_reason_that_is_none_is_malformed(header: int, code: int) -> None:
    if code == 0x92 and header != 0x50:
        return  # these two know it
    session = connected_session()
    published(session)
    session.receive_data(bytes((header, 3, 0, 1, code)), 0.0)
    last = sent(session)[-1]
    assert isinstance(last, mqtt5.DisconnectPacket)
    assert last.reason_code == DisconnectReasonCode.MALFORMED_PACKET
    assert len(session.outgoing) == 1


def test_a_broker_that_knows_nothing_of_a_release_or_releases_what_it_does_not_know_ends_the_exchange() -> None:
    session = connected_session()
    published(session)
    session.receive_data(PubRecPacket(1).write(), 0.0)
    session.receive_data(PubCompPacket(1, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND).write(), 0.0)
    assert not session.packet_ids.in_use
    session.receive_data(exact(5).write(), 0.0)
    session.acknowledge(1, 0, 1)
    session.receive_data(PubRelPacket(5, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND).write(), 0.0)
    assert sent(session)[-1] == PubCompPacket(5)


# However the stream is cut

SCRIPT = written(
    PubRecPacket(1),
    exact(7, b"first"),
    PubRecPacket(2, reason_code=PubRecReasonCode.QUOTA_EXCEEDED, reason_str="why"),
    PublishPacket("topic", b"a", qos=QoS.EXACTLY_ONCE, packet_id=8, topic_alias=1),
    PubCompPacket(1),
    PublishPacket("", b"b", qos=QoS.EXACTLY_ONCE, packet_id=9, topic_alias=1),
    PubRelPacket(77),
)


def scripted() -> Session:
    session = connected_session(topic_alias_max=1)
    published(session)
    published(session)
    sent(session)
    return session


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_any_size_mean_the_same(size: int) -> None:
    whole, session = scripted(), scripted()
    expected = flattened(whole.receive_data(SCRIPT, 0.0))
    assert len(expected) == 6
    events = [
        event for at in range(0, len(SCRIPT), size) for event in session.receive_data(SCRIPT[at : at + size], 0.0)
    ]
    assert sorted(map(repr, flattened(events))) == sorted(map(repr, expected))
    assert sent(session) == sent(whole)
    assert session.acknowledge(1, 0, 3) == whole.acknowledge(1, 0, 3) == 3
    assert sent(session) == sent(whole) == [PubRecPacket(number) for number in (7, 8, 9)]


@pytest.mark.parametrize("kept", [True, False])
async def test_a_cut_at_every_byte_of_an_exchange_costs_the_connection_and_nothing_else(
    autojump_clock: MockClock, kept: bool
) -> None:
    answers = written(PubRecPacket(1), PubCompPacket(1))
    for cut in range(len(answers) + 1):
        broker = ScriptedBroker()
        async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
            outcome: list[str] = []

            async def publish() -> None:
                try:
                    await client.publish("t", b"x", qos=2)
                    outcome.append("arrived")  # noqa: B023
                except SessionLostError:
                    outcome.append("in doubt")  # noqa: B023

            peer = await broker.peer()
            nursery.start_soon(publish)
            await peer.expect(PublishPacket)
            broker.connack = RESUMED if kept else ConnAckPacket()
            await peer.stream.send_all(answers[:cut])
            await trio.sleep(1)
            await peer.close()
            peer = await broker.peer()
            received, over = cut >= len(PubRecPacket(1).write()), cut == len(answers)
            if kept and not over:
                await peer.expect(PubRelPacket if received else PublishPacket)
                await peer.send(*([] if received else [PubRecPacket(1)]), PubCompPacket(1))
            await trio.sleep(1)
            assert outcome == ["arrived" if kept or received else "in doubt"], cut
            assert not client._session.packet_ids.in_use


async def test_batches_on_either_side_of_a_message_that_comes_again_are_acknowledged_without_it(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        await peer.send(exact(1))
        held = await anext(client.batches())
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        await peer.send(qos1(5), exact(1, duplicate=True), qos1(6))
        await gathered()
        for expected in (5, 6):
            batch = await anext(client.batches())
            assert [packet.packet_id for packet in batch.packets] == [expected]
            await client.acknowledge(batch)
        assert (await peer.expect(PubAckPacket)).packet_id == 5
        await client.acknowledge(held)
        assert (await peer.expect(PubRecPacket)).packet_id == 1
        assert (await peer.expect(PubAckPacket)).packet_id == 6


# Who never answers, and who reads nothing


async def test_a_pubrec_that_never_comes_holds_back_only_as_many_as_the_broker_takes(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(receive_max=2)
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        for _ in range(5):
            nursery.start_soon(client.publish, "t", b"x")
        with trio.move_on_after(5):
            await client.publish("t", b"exact", qos=2)
        with trio.move_on_after(3600):
            while (packet := await peer.expect(PublishPacket)) is not None:
                if packet.qos == QoS.AT_LEAST_ONCE:
                    await peer.send(PubAckPacket(packet.packet_id or 0))
        assert client.statistics().unacknowledged == 1, "the one whose caller has given up keeps its id"
        assert client._session.room == 1
        await client.publish("t", b"", qos=0)
        nursery.cancel_scope.cancel()


FLOODS: dict[str, list[mqtt5.Packet]] = {
    "releases of nothing": [PubRelPacket(number + 100) for number in range(100)],
    "pubrecs of nothing": [PubRecPacket(number + 100) for number in range(100)],
    "a pubrec again and again": [PubRecPacket(1) for _ in range(100)],
    "a message again and again": [exact(9) for _ in range(100)],
}


@pytest.mark.parametrize("packets", FLOODS.values(), ids=FLOODS)
async def test_a_peer_that_reads_nothing_while_it_wants_answers_fills_no_memory(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, packets: list[mqtt5.Packet]
) -> None:
    monkeypatch.setattr(output, "MAX_UNSENT_ACKS", 4000)
    broker = Unbuffered()
    data = written(*packets)
    largest = sent = 0

    async with trio.open_nursery() as nursery, client_of(broker, keep_trying=True, keep_alive=20) as client:
        peer = await accepted(broker)
        nursery.start_soon(partial(client.publish, "t", b"x", qos=2))
        await peer.expect(PublishPacket)
        await peer.send(exact(9))
        client.acknowledge_soon(await anext(client.batches()))
        await peer.expect(PubRecPacket)
        with trio.move_on_after(25), contextlib.suppress(trio.BrokenResourceError):
            while sent < 3000:
                await peer.stream.send_all(data)
                sent += 1
                if sent % 10 == 0:
                    largest = max(largest, sum(map(len, client._session._out._packets)))
        assert sent < 3000, "it is not taken"
        assert 0 < largest < 400_000
        await client.disconnected()
        nursery.cancel_scope.cancel()


# Who comes back with less room


@pytest.mark.parametrize(
    "less",
    [ConnAckPacket(session_present=True, max_packet_size=50), ConnAckPacket(session_present=True, max_qos=QoS(1))],
)
def test_a_message_that_may_not_be_sent_again_is_in_doubt_and_its_id_in_use_until_the_broker_has_dropped_it(
    less: ConnAckPacket,
) -> None:
    session = connected_session()
    published(session, bytes(100))
    session.connection_lost()
    [event] = accept(session, less)
    assert isinstance(event, Connected)
    assert (event.resumption.withdrawn, event.resumption.ended) == ((1,), ())
    withdrawal = PubRelPacket(1, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND)
    assert sent(session) == [withdrawal]
    assert session.packet_ids.in_use == 1
    session.connection_lost()
    accept(session, less)
    assert sent(session) == [withdrawal], "it is not answered"
    session.receive_data(PubCompPacket(1).write(), 0.0)
    assert not session.packet_ids.in_use


async def test_the_caller_of_a_message_that_may_not_be_sent_again_is_told_that_nobody_knows(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        told = trio.Event()

        async def publish() -> None:
            with pytest.raises(SessionLostError, match=r"whether 1 message.* arrived is not known"):
                await client.publish("t", bytes(100), qos=2)
            told.set()

        nursery.start_soon(publish)
        await peer.expect(PublishPacket)
        broker.connack = ConnAckPacket(session_present=True, max_packet_size=50)
        await peer.close()
        peer = await broker.peer()
        await told.wait()
        await peer.expect(PubRelPacket)
