"""Claims about what a client publishes, against a broker in memory where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from functools import partial

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubscribePacket,
)
from trio.testing import MockClock

from appliance.mqtt.errors import NegativeAckError
from appliance.mqtt.inflight import LAST_PACKET_ID, RESERVED_IDS
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, RESUMED, client_of


async def test_publish_returns_once_the_broker_has_the_message(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        done = trio.Event()

        async def publish() -> None:
            await client.publish("a/b", b"x", retain=True)
            done.set()

        nursery.start_soon(publish)
        packet = await peer.expect(PublishPacket)
        assert (packet.topic, packet.payload, packet.qos == QoS.AT_LEAST_ONCE, packet.retain) == (
            "a/b",
            b"x",
            True,
            True,
        )
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        assert packet.packet_id is not None
        await peer.send(PubAckPacket(packet.packet_id, reason_code=PubAckReasonCode.NO_MATCHING_SUBSCRIBERS))
        await done.wait()


async def test_a_refused_message_raises_with_its_reason(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            with pytest.raises(NegativeAckError, match=r"refused 2 messages: not authorized \(by rule 7\)$") as caught:
                await client.publish_many([("a", b""), ("b", b""), ("c", b"")])
            assert caught.value.refused == 2
            assert caught.value.reason_code == PubAckReasonCode.NOT_AUTHORIZED

        nursery.start_soon(publish)
        no = PubAckReasonCode.NOT_AUTHORIZED
        for reason in (no, PubAckReasonCode.SUCCESS, no):
            packet = await peer.expect(PublishPacket)
            words = "by rule 7" if packet.topic == "a" else "by rule 8"
            await peer.send(PubAckPacket(packet.packet_id or 0, reason_code=reason, reason_str=words))


def test_the_brokers_own_words_are_one_line_of_bounded_length() -> None:
    no = PubAckReasonCode.QUOTA_EXCEEDED
    assert str(NegativeAckError("1 message", no, None)) == "the broker refused 1 message: quota exceeded"
    assert str(NegativeAckError("it", no, " \x7fa\nb\u2028c ")) == "the broker refused it: quota exceeded (a b c)"
    assert len(str(NegativeAckError("it", no, "x" * 65_535))) < 400


async def test_no_more_are_under_way_than_the_broker_takes(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = ConnAckPacket(receive_max=2)
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish_many, [("t", b"%d" % number) for number in range(5)])
        open_ids: list[int] = []
        payloads: list[bytes] = []
        while len(payloads) < 5:
            packet = await peer.expect(PublishPacket)
            payloads.append(packet.payload)
            open_ids.append(packet.packet_id or 0)
            await trio.testing.wait_all_tasks_blocked()
            assert client.statistics().unacknowledged <= 2
            if len(open_ids) == 2 or len(payloads) == 5:
                await peer.send(*[PubAckPacket(packet_id) for packet_id in open_ids])
                open_ids = []
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_unacknowledged_message_is_sent_again_after_a_reconnect(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish, "t", b"x")
        assert not (await peer.expect(PublishPacket)).duplicate
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        packet = await peer.expect(PublishPacket)
        assert packet.duplicate
        await peer.send(PubAckPacket(packet.packet_id or 0))


async def test_publishing_waits_for_a_connection(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        await peer.close()
        await client.disconnected()
        for qos in (0, 1):
            nursery.start_soon(partial(client.publish, "t", b"x", qos=qos))
        peer = await broker.peer()
        packets = [await peer.expect(PublishPacket) for _ in range(2)]
        await peer.send(*[PubAckPacket(packet.packet_id) for packet in packets if packet.packet_id])


async def test_a_cancelled_publish_harms_nobody(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish, "t", b"cancelled")
        first = await peer.expect(PublishPacket)
        nursery.cancel_scope.cancel()
    async with client_of(broker) as client:
        peer = await broker.peer()
        with trio.CancelScope() as scope, trio.testing.assert_checkpoints():
            scope.cancel()
            await client.publish("t", b"never sent")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.publish, "t", b"next")
            packet = await peer.expect(PublishPacket)
            assert packet.payload == b"next"
            await peer.send(PubAckPacket(first.packet_id or 0), PubAckPacket(packet.packet_id or 0))


@pytest.mark.parametrize("topic", ["", "a/#", "a/+", "a\0", "a\n", "\x7f", "\uffff", "\ud800"])
async def test_a_topic_that_cannot_be_is_a_value_error_and_the_connection_stays(
    broker: ScriptedBroker, autojump_clock: MockClock, topic: str
) -> None:
    async with client_of(broker) as client:
        with pytest.raises(ValueError, match="topic"):
            await client.publish(topic, b"")
        with pytest.raises(ValueError, match="Invalid QoS value: 3"):
            await client.publish("t", b"", qos=3)
        assert client.generation == 1


async def test_messages_before_one_that_cannot_be_are_sent(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        with pytest.raises(ValueError, match="topic"):
            await client.publish_many([("t", b"sound"), ("#", b"")])
        with trio.fail_after(1):  # before the first ping, which would take it along
            assert (await peer.expect(PublishPacket)).payload == b"sound"


async def test_qos_0_does_not_wait_behind_the_flow_control_of_qos_1(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(receive_max=1)
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish_many, [("t", b"1"), ("t", b"2")])
        first = await peer.expect(PublishPacket)
        await trio.testing.wait_all_tasks_blocked()  # the second waits for a PUBACK
        with trio.fail_after(1):
            await client.publish("t", b"fleeting", qos=0)
            assert (await peer.expect(PublishPacket)).payload == b"fleeting"
        await peer.send(PubAckPacket(first.packet_id or 0))
        second = await peer.expect(PublishPacket)
        assert second.payload == b"2"
        await peer.send(PubAckPacket(second.packet_id or 0))


async def test_requests_leave_while_the_broker_owes_an_acknowledgement_for_every_message_it_may_get(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish_many, [("t", b"")] * (LAST_PACKET_ID + 1))
        ids = {(await peer.expect(PublishPacket)).packet_id for _ in range(LAST_PACKET_ID - RESERVED_IDS)}
        assert client.statistics().unacknowledged == len(ids) == LAST_PACKET_ID - RESERVED_IDS
        for number in range(RESERVED_IDS + 1):
            nursery.start_soon(client.subscribe, f"t/{number}")
        requests = [await peer.expect(SubscribePacket) for _ in range(RESERVED_IDS)]
        assert not ids & {request.packet_id for request in requests}
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(SubAckPacket(requests[0].packet_id, [GRANTED]))
        last = await peer.expect(SubscribePacket)
        assert last.packet_id == requests[0].packet_id, "the one that was answered is free again"
        assert client.generation == 1
        nursery.cancel_scope.cancel()
