"""Claims about publishing with aiomqtt's interface: answers, retries, flow control."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Callable
from typing import Final

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    SubscribePacket,
    TopicFilter,
)
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError, NegativeAckError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker
from tests.support.mqtt.scripted_facade import DURABLE, Calls, facade_of, sent_since
from tests.support.mqtt.unbuffered import Unbuffered, accepted

QOS_1: Final = QoS.AT_LEAST_ONCE
QOS_2: Final = QoS.EXACTLY_ONCE


# Answers


async def test_a_message_of_qos_0_has_no_answer(mosquitto: MosquittoServer, topic: str) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        assert await client.publish(topic, b"") is None  # type: ignore[func-returns-value]


async def test_every_property_of_a_message_is_sent(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    properties = {
        "retain": True,
        "message_expiry_interval": 60,
        "content_type": "text/plain",
        "response_topic": "answers",
        "correlation_data": b"\x00",
        "user_properties": [("a", "1"), ("a", "2")],
    }
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await client.publish("t", b"x", **properties)  # type: ignore[call-overload]
        packet = await peer.expect(PublishPacket)
        assert {name: getattr(packet, name) for name in properties} == properties


@pytest.mark.parametrize("qos", [QOS_1, QOS_2])
async def test_an_answer_that_nobody_is_subscribed_is_a_success(
    broker: ScriptedBroker, autojump_clock: MockClock, qos: QoS
) -> None:
    client = facade_of(broker)
    packet_id = next(client.packet_ids)
    async with client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(_answer_without_subscribers, peer)
        answer = await client.publish("t", b"", qos=qos, packet_id=packet_id)
        assert answer is not None
        assert (answer.packet_id, answer.reason_code.name) == (packet_id, "NO_MATCHING_SUBSCRIBERS")
        if qos == QOS_2:
            assert (await client.pubrel(packet_id)).reason_code == PubCompReasonCode.SUCCESS


async def _answer_without_subscribers(peer: Peer) -> None:
    message = await peer.expect(PublishPacket)
    assert message.packet_id is not None
    if message.qos == QOS_1:
        reason = PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
        await peer.send(PubAckPacket(message.packet_id, reason_code=reason))
    else:
        await peer.send(PubRecPacket(message.packet_id, reason_code=PubRecReasonCode.NO_MATCHING_SUBSCRIBERS))
        await peer.send(PubCompPacket((await peer.expect(PubRelPacket)).packet_id))


@pytest.mark.parametrize("qos", [QOS_1, QOS_2])
async def test_a_refusal_is_an_error_and_ends_the_exchange(
    broker: ScriptedBroker, autojump_clock: MockClock, qos: QoS
) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        for _ in range(2):
            await calls.start("first", lambda: client.publish("t", b"", qos=qos, packet_id=5))
            await peer.expect(PublishPacket)
            if qos == QOS_1:
                await peer.send(PubAckPacket(5, reason_code=PubAckReasonCode.QUOTA_EXCEEDED, reason_str="full"))
            else:
                await peer.send(PubRecPacket(5, reason_code=PubRecReasonCode.QUOTA_EXCEEDED, reason_str="full"))
            await trio.testing.wait_all_tasks_blocked()
            error = calls.results.pop("first")
            assert isinstance(error, NegativeAckError)
            assert (error.packet_id, error.reason_str) == (5, "full")
            assert str(error).endswith("Packet: QUOTA_EXCEEDED")


async def test_a_release_that_the_broker_does_not_know_is_an_error(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("release", lambda: client.pubrel(9))
        await peer.expect(PubRelPacket)
        await peer.send(PubCompPacket(9, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND))
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["release"], NegativeAckError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"qos": QOS_1}, "QoS 1 needs a packet id"),
        ({"qos": QOS_2}, "QoS 2 needs a packet id"),
        ({"qos": QOS_1, "packet_id": 0}, "a number from 1 to 65535"),
        ({"qos": QOS_1, "packet_id": 65536}, "a number from 1 to 65535"),
        ({"topic": "a/#"}, "holds no"),
        ({"payload": bytes(200)}, "at most 100"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_leaves_nothing(
    broker: ScriptedBroker, autojump_clock: MockClock, arguments: dict[str, object], words: str
) -> None:
    broker.connack = ConnAckPacket(max_packet_size=100)
    async with facade_of(broker) as client:
        peer = await broker.peer()
        with pytest.raises(ValueError, match=words):
            await client.publish(**({"topic": "t", "payload": b""} | arguments))  # type: ignore[call-overload]
        assert await sent_since(peer) == []
        assert not client._exchanges._session.packet_ids.in_use


async def test_a_packet_id_in_use_is_refused(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await calls.start("first", lambda: client.publish("t", b"", qos=QOS_1, packet_id=7))
        for qos in (QOS_1, QOS_2):
            with pytest.raises(ValueError, match="packet id 7 is in use"):
                await client.publish("t", b"", qos=qos, packet_id=7)
        with pytest.raises(ValueError, match="packet id 7 is in use"):
            await client.publish("t", b"", qos=QOS_2, packet_id=7, duplicate=True)
        with pytest.raises(ValueError, match="packet id 7"):
            await client.pubrel(7)
        nursery.cancel_scope.cancel()


# Packet ids


async def test_packet_ids_pass_over_those_in_use_and_go_on_in_the_next_life(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = facade_of(broker)
    ids = client.packet_ids
    assert [next(ids), next(client.packet_ids)] == [1, 2]
    async with client, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await calls.start("publish", lambda: client.publish("t", b"", qos=QOS_1, packet_id=4))
        await calls.start("subscribe", lambda: client.subscribe(TopicFilter("t")))
        await broker.peer()
        assert [next(ids) for _ in range(3)] == [5, 6, 7]
        nursery.cancel_scope.cancel()
    async with client:
        assert next(ids) == 8


async def test_a_packet_id_that_was_drawn_is_not_taken_by_a_subscription(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        drawn = next(client.packet_ids)
        await calls.start("subscribe", lambda: client.subscribe(TopicFilter("t")))
        await calls.start("publish", lambda: client.publish("t", b"", qos=QOS_1, packet_id=drawn))
        assert (await peer.expect(SubscribePacket)).packet_id != drawn
        assert (await peer.expect(PublishPacket)).packet_id == drawn
        nursery.cancel_scope.cancel()


# Without a connection


@pytest.mark.parametrize("qos", [QoS.AT_MOST_ONCE, QOS_1, QOS_2])
async def test_publishing_without_a_connection_is_an_error_at_once(
    broker: ScriptedBroker, autojump_clock: MockClock, qos: QoS
) -> None:
    client = facade_of(broker)

    async def refused() -> None:
        with pytest.raises(ConnectError, match="Not connected to scripted:1883"):
            await client.publish("t", b"", qos=qos, packet_id=next(client.packet_ids))

    await refused()
    async with client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        if qos != QoS.AT_MOST_ONCE:
            await calls.start("first", lambda: client.publish("t", b"", qos=qos, packet_id=next(client.packet_ids)))
            assert not calls.results
        await peer.close()
        await client.disconnected()
        await trio.testing.wait_all_tasks_blocked()
        assert all(isinstance(result, ConnectError) for result in calls.results.values())
        assert len(calls.results) == (qos != QoS.AT_MOST_ONCE)
        await refused()
    await refused()


async def test_releasing_without_a_connection_is_an_error_at_once(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = facade_of(broker)
    with pytest.raises(ConnectError):
        await client.pubrel(1)
    async with client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("first", lambda: client.pubrel(1))
        await peer.close()
        await client.disconnected()
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["first"], ConnectError)
        with pytest.raises(ConnectError):
            await client.pubrel(1)
    with pytest.raises(ConnectError):
        await client.pubrel(1)


async def test_a_message_of_qos_0_that_did_not_leave_is_an_error(autojump_clock: MockClock) -> None:
    broker = Unbuffered()
    async with trio.open_nursery() as nursery:

        async def hang_up() -> None:
            peer = await accepted(broker)
            await trio.sleep(1)
            await peer.close()

        nursery.start_soon(hang_up)
        async with facade_of(broker, reconnect=True) as client:
            with pytest.raises(ConnectError):
                await client.publish("t", b"")
            nursery.cancel_scope.cancel()


async def test_what_waits_for_the_broker_to_take_more_ends_with_the_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(receive_max=1)
    async with facade_of(broker, **DURABLE) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        for number in (1, 2, 3):
            await calls.start(str(number), lambda n=number: client.publish("t", b"", qos=QOS_1, packet_id=n))  # type: ignore[misc]
        await peer.close()
        await client.disconnected()
        with trio.fail_after(0.05):  # long before there is another one
            while len(calls.results) < 3:
                await trio.sleep(0.001)
        assert [type(result) for result in calls.results.values()] == [ConnectError] * 3


async def test_a_new_life_knows_nothing_of_the_exchanges_before(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = facade_of(broker)
    for _ in range(2):
        async with client, trio.open_nursery() as nursery:
            peer, calls = await broker.peer(), Calls(nursery)
            await calls.start("", lambda: client.publish("t", b"", qos=QOS_1, packet_id=1, duplicate=True))
            await peer.expect(PublishPacket)
            nursery.cancel_scope.cancel()


# Cancellation


async def test_a_cancelled_publish_keeps_its_packet_id_until_it_is_answered(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.publish("t", b"", qos=QOS_1, packet_id=1)
        with pytest.raises(ValueError, match="in use"):
            await client.publish("t", b"", qos=QOS_1, packet_id=1)
        await peer.send(PubAckPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await client.publish("t", b"", qos=QOS_1, packet_id=1)
        assert scope.cancelled_caught
        assert [type(packet) for packet in await sent_since(peer)] == [PublishPacket, PublishPacket]


# Flow control


@pytest.mark.parametrize("qos", [QOS_1, QOS_2])
async def test_a_broker_that_takes_no_more_is_waited_for_but_not_with_qos_0(
    broker: ScriptedBroker, autojump_clock: MockClock, qos: QoS
) -> None:
    broker.connack = ConnAckPacket(receive_max=2)
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        for number in (1, 2, 3, 4):
            await calls.start(str(number), lambda n=number: client.publish("t", b"", qos=qos, packet_id=n))  # type: ignore[misc]
        assert [packet.packet_id for packet in await sent_since(peer)] == [1, 2]  # type: ignore[union-attr]
        await client.publish("t", b"at once")
        assert (await peer.expect(PublishPacket)).payload == b"at once"
        if qos == QOS_1:
            await peer.send(PubAckPacket(1))
        else:
            await peer.send(PubRecPacket(1))
            await trio.testing.wait_all_tasks_blocked()
            await calls.start("release", lambda: client.pubrel(1))
            await peer.expect(PubRelPacket)
            assert await sent_since(peer) == [], "a message counts until its PUBCOMP"
            await peer.send(PubCompPacket(1))
        assert [packet.packet_id for packet in await sent_since(peer)] == [3]  # type: ignore[union-attr]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("qos", [QOS_1, QOS_2])
async def test_as_many_as_a_real_broker_takes_and_one_more_are_all_answered(
    mosquitto: MosquittoServer, topic: str, qos: QoS
) -> None:
    answered: list[int] = []
    with MosquittoServer(config=("max_inflight_messages 20",)) as server, trio.fail_after(30):
        async with Client(hostname=server.host, port=server.port) as client, trio.open_nursery() as nursery:
            assert (await client.connected()).receive_max == 20

            async def publish(packet_id: int) -> None:
                await client.publish(topic, b"", qos=qos, packet_id=packet_id)
                if qos == QOS_2:
                    await client.pubrel(packet_id)
                answered.append(packet_id)

            for packet_id in range(1, 22):
                nursery.start_soon(publish, packet_id)
    assert sorted(answered) == list(range(1, 22))


# What answers nothing


@pytest.mark.parametrize("kind", [PubAckPacket, PubRecPacket, PubRelPacket, PubCompPacket])
async def test_an_acknowledgement_of_nothing_is_ignored(
    broker: ScriptedBroker, autojump_clock: MockClock, kind: Callable[[int], PubAckPacket]
) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await peer.send(kind(999))
        await calls.start("publish", lambda: client.publish("t", b"", qos=QOS_1, packet_id=1))
        await peer.send(PubAckPacket(1), PubAckPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["publish"], PubAckPacket)
