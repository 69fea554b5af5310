"""Claims about receiving with aiomqtt's interface: iterators, acknowledgements, what comes again."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Callable

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    TopicFilter,
)
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED
from tests.support.mqtt.scripted_facade import facade_of, sent_since

DURABLE = {"reconnect": True, "session_expiry_interval": 600}


def qos0(payload: bytes = b"x") -> PublishPacket:
    return PublishPacket("t", payload)


def qos2(packet_id: int, payload: bytes = b"x", duplicate: bool = False) -> PublishPacket:
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


async def received(client: Client, count: int) -> list[tuple[int | None, bytes | None]]:
    """Id and payload of what comes next; a PUBREL has no payload."""
    messages = client.messages()
    with trio.fail_after(30):
        packets = [await anext(messages) for _ in range(count)]
    return [(packet.packet_id, getattr(packet, "payload", None)) for packet in packets]


async def nothing_waits(client: Client) -> bool:
    with trio.move_on_after(0.05) as scope:
        await anext(client.messages())
    return scope.cancelled_caught


# Iterators


async def test_two_tasks_that_wait_get_a_message_each(mosquitto: MosquittoServer, topic: str) -> None:
    found: list[bytes] = []
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:

        async def consume() -> None:
            message = await anext(client.messages())
            assert isinstance(message, PublishPacket)
            found.append(message.payload)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume)
                nursery.start_soon(consume)
                await client.subscribe(TopicFilter(topic))
                await client.publish(topic, b"foo")
                await client.publish(topic, b"bar")
    assert sorted(found) == [b"bar", b"foo"]


async def test_messages_of_one_chunk_go_to_all_that_wait(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        found: list[object] = []

        async def consume() -> None:
            found.append(await received(client, 1))

        for _ in range(3):
            nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(qos1(1), qos1(2), qos1(3))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(found, key=str) == [[(1, b"x")], [(2, b"x")], [(3, b"x")]]


async def test_two_tasks_do_not_share_one_iterator(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        messages = client.messages()
        nursery.start_soon(anext, messages)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(messages)
        nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()


async def test_a_cancelled_iteration_can_go_on_and_has_lost_nothing(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        messages = client.messages()
        with trio.move_on_after(1):
            await anext(messages)
        await peer.send(qos1(1))
        assert (await anext(messages)).packet_id == 1


async def test_iterating_without_a_connection_is_an_error(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    client = facade_of(broker)
    with pytest.raises(ConnectError):
        await anext(client.messages())
    async with client:
        peer = await broker.peer()
        await peer.send(qos0(b"before"))
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await client.disconnected()
        assert await received(client, 1) == [(None, b"before")]
        with pytest.raises(ConnectError):
            await anext(client.messages())
    with pytest.raises(ConnectError):
        await anext(client.messages())


async def test_an_iteration_that_waits_ends_with_the_connection_also_if_it_comes_back(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client:
        peer = await broker.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_loss, client)
            await trio.testing.wait_all_tasks_blocked()
            await peer.close()
        await client.connected()
        await (await broker.peer()).send(qos0(b"after"))
        assert await received(client, 1) == [(None, b"after")]


async def _expect_loss(client: Client) -> None:
    with pytest.raises(ConnectError):
        await anext(client.messages())


async def test_messages_of_qos_0_that_nobody_takes_are_kept_up_to_the_receive_maximum(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, receive_max=3) as client:
        peer = await broker.peer()
        await peer.send(*[qos0(b"%d" % number) for number in range(5)], qos1(1))
        assert await received(client, 4) == [(None, b"0"), (None, b"1"), (None, b"2"), (1, b"x")]
        await peer.send(qos0(b"5"))
        assert await received(client, 1) == [(None, b"5")]


async def test_a_topic_alias_is_resolved(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker, topic_alias_max=1) as client:
        peer = await broker.peer()
        await peer.send(PublishPacket("full", b"", topic_alias=1), PublishPacket("", b"", topic_alias=1))
        messages = client.messages()
        assert [(await anext(messages)).topic for _ in range(2)] == ["full", "full"]  # type: ignore[union-attr]


# Acknowledgements


async def test_acknowledgements_leave_in_the_order_of_arrival(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1), qos2(2), qos1(3))
        await received(client, 3)
        await client.puback(3)
        await client.pubrec(2)
        assert await sent_since(peer) == []
        await client.puback(1)
        sent = await sent_since(peer)
        assert [(type(packet), packet.packet_id) for packet in sent] == [  # type: ignore[union-attr]
            (PubAckPacket, 1),
            (PubRecPacket, 2),
            (PubAckPacket, 3),
        ]


async def test_an_acknowledgement_says_what_it_is_told(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1), qos2(2), qos2(3))
        await received(client, 3)
        pairs = [("why", "so")]
        full = PubAckReasonCode.QUOTA_EXCEEDED
        await client.puback(1, reason_code=full, reason_str="full", user_properties=pairs)
        await client.pubrec(2, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)
        await client.pubrec(3, user_properties=pairs)
        one, two, three = await sent_since(peer)
        assert isinstance(one, PubAckPacket)
        assert isinstance(two, PubRecPacket)
        assert isinstance(three, PubRecPacket)
        assert (one.reason_code, one.reason_str, one.user_properties) == (full, "full", pairs)
        assert (two.reason_code, three.reason_code.name) == (PubRecReasonCode.QUOTA_EXCEEDED, "SUCCESS")
        assert three.user_properties == pairs
        await peer.send(PubRelPacket(3))
        await received(client, 1)
        await client.pubcomp(3, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND, reason_str="gone")
        [last] = await sent_since(peer)
        assert isinstance(last, PubCompPacket)
        assert (last.reason_code, last.reason_str) == (PubCompReasonCode.PACKET_ID_NOT_FOUND, "gone")


async def test_the_acknowledgement_of_the_other_qos_is_refused(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1), qos2(2))
        await received(client, 2)
        with pytest.raises(ValueError, match="message 1 has QoS 1: `puback`"):
            await client.pubrec(1)
        with pytest.raises(ValueError, match="message 2 has QoS 2: `pubrec`"):
            await client.puback(2)
        await client.puback(1)
        await client.pubrec(2)
        assert len(await sent_since(peer)) == 2


async def test_what_is_acknowledged_already_or_never_came_is_passed_over(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1))
        await received(client, 1)
        for packet_id in (1, 1, 999):
            await client.puback(packet_id)
        assert len(await sent_since(peer)) == 1


@pytest.mark.parametrize("name", ["puback", "pubrec", "pubcomp"])
async def test_acknowledging_without_a_connection_is_an_error(
    broker: ScriptedBroker, autojump_clock: MockClock, name: str
) -> None:
    client = facade_of(broker)
    acknowledge: Callable[[int], object] = getattr(client, name)

    async def refused() -> None:
        with pytest.raises(ConnectError):
            await acknowledge(1)  # type: ignore[misc]

    await refused()
    async with client:
        await (await broker.peer()).close()
        await client.disconnected()
        await refused()
    await refused()


# QoS 2


async def test_a_release_comes_behind_the_messages_before_it_and_once(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos2(1, b"one"))
        assert await received(client, 1) == [(1, b"one")]
        await client.pubrec(1)
        await peer.send(qos1(2, b"two"), PubRelPacket(1), qos0(b"three"), PubRelPacket(1))
        assert await received(client, 3) == [(2, b"two"), (None, b"three"), (1, None)]
        assert await nothing_waits(client)
        await client.pubcomp(1)
        assert [type(packet) for packet in await sent_since(peer)] == [PubRecPacket, PubCompPacket]


async def resumed(broker: ScriptedBroker, peer: Peer, client: Client, connack: ConnAckPacket) -> Peer:
    """Lose the connection, and return the far end of the next one."""
    broker.connack = connack
    await peer.close()
    await client.disconnected()
    await client.connected()
    return await broker.peer()


async def test_after_a_loss_what_was_not_acknowledged_comes_again_and_once(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client:
        peer = await broker.peer()
        await peer.send(qos2(1, b"kept"), qos2(2, b"taken"), qos2(3, b"waits"), qos1(4, b"again"), qos0(b"fleeting"))
        assert await received(client, 2) == [(1, b"kept"), (2, b"taken")]
        await client.pubrec(1)
        await peer.send(PubRelPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await client.disconnected()
        with pytest.raises(ConnectError):
            await client.pubrec(2)
        broker.connack = RESUMED
        await client.connected()
        peer = await broker.peer()
        await client.pubrec(2)
        assert await sent_since(peer) == [], "it has not come on this connection yet"
        await peer.send(PubRelPacket(1), qos2(2, duplicate=True), qos2(3, duplicate=True), qos1(4, b"again"))
        assert await received(client, 5) == [(None, b"fleeting"), (1, None), (2, b"x"), (3, b"x"), (4, b"again")]
        assert await nothing_waits(client)
        await client.puback(4)
        await client.pubrec(3)
        await client.pubrec(2)
        await client.pubcomp(1)
        sent = await sent_since(peer)
        assert [packet.packet_id for packet in sent] == [2, 3, 4, 1]  # type: ignore[union-attr]


async def test_what_was_acknowledged_before_a_loss_is_not_handed_out_again(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client:
        peer = await broker.peer()
        await peer.send(qos1(1), qos2(2), qos2(3))
        await received(client, 3)
        await client.pubrec(2)  # waits for the one before
        await client.pubrec(3, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)
        peer = await resumed(broker, peer, client, RESUMED)
        await peer.send(qos1(1), qos2(2, duplicate=True), qos2(3, duplicate=True))
        assert await received(client, 1) == [(1, b"x")]
        assert await nothing_waits(client)
        await client.puback(1)
        _, second, third = await sent_since(peer)
        assert isinstance(second, PubRecPacket)
        assert isinstance(third, PubRecPacket)
        assert (second.reason_code.name, third.reason_code.name) == ("SUCCESS", "QUOTA_EXCEEDED")
        await peer.send(PubRelPacket(2))
        assert await received(client, 1) == [(2, None)]


async def test_what_waits_when_the_session_is_lost_is_the_only_copy_and_stays(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"only"), qos2(2, b"copy"))
        await trio.testing.wait_all_tasks_blocked()
        peer = await resumed(broker, peer, client, ConnAckPacket())
        assert await received(client, 2) == [(1, b"only"), (2, b"copy")]
        await client.puback(1)
        await client.pubrec(2)
        assert await sent_since(peer) == [], "the broker knows nothing of them"


async def test_no_more_of_lost_sessions_waits_than_one_connection_may_bring(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, receive_max=2, **DURABLE) as client:
        peer = await broker.peer()
        for number in range(3):
            await peer.send(qos1(1, b"%d" % number), qos2(2, b"%d" % number))
            await trio.testing.wait_all_tasks_blocked()
            peer = await resumed(broker, peer, client, ConnAckPacket())
        assert await received(client, 2) == [(1, b"0"), (2, b"0")]
        assert await nothing_waits(client)


async def test_a_new_life_knows_nothing_of_what_waited_before(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = facade_of(broker)
    for _ in range(2):
        async with client:
            peer = await broker.peer()
            assert await nothing_waits(client)
            await client.puback(1)
            assert await sent_since(peer) == []
            await peer.send(qos1(1), qos0())
            await trio.testing.wait_all_tasks_blocked()


async def test_a_message_acknowledged_after_a_loss_is_when_it_has_come_again(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client:
        peer = await broker.peer()
        await peer.send(qos1(1))
        await received(client, 1)
        peer = await resumed(broker, peer, client, RESUMED)
        await peer.send(qos1(5))
        await trio.testing.wait_all_tasks_blocked()
        await client.puback(1)
        assert await sent_since(peer) == [], "the first message of this connection is another one"
        await peer.send(qos1(1))
        await received(client, 2)
        await client.puback(5)
        await client.puback(1)
        assert len(await sent_since(peer)) == 2


async def test_exactly_once_through_a_real_broker(mosquitto: MosquittoServer, topic: str) -> None:
    kept: dict[int, bytes] = {}
    done: list[bytes] = []
    async with Client(hostname=mosquitto.host, port=mosquitto.port, receive_max=3) as client:
        await client.subscribe(TopicFilter(topic))
        async with trio.open_nursery() as nursery:

            async def publish() -> None:
                for number in range(20):
                    packet_id = next(client.packet_ids)
                    await client.publish(topic, b"%d" % number, qos=QoS.EXACTLY_ONCE, packet_id=packet_id)
                    await client.pubrel(packet_id)

            nursery.start_soon(publish)
            with trio.fail_after(30):
                async for packet in client.messages():
                    assert packet.packet_id is not None
                    if isinstance(packet, PubRelPacket):
                        done.append(kept.pop(packet.packet_id))
                        await client.pubcomp(packet.packet_id)
                        if len(done) == 20:
                            break
                    else:
                        kept[packet.packet_id] = packet.payload
                        await client.pubrec(packet.packet_id)
    assert done == [b"%d" % number for number in range(20)]
    assert not kept


# The end of a connection


async def test_a_disconnect_of_the_broker_is_not_answered(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SERVER_SHUTTING_DOWN))
        await client.disconnected()
        assert await peer.packet() is None


async def test_a_connection_that_is_about_to_end_is_none(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker, reconnect=True) as client:
        peer = await broker.peer()
        await peer.stream.send_all(b"\x00\x02\x00\x00")  # after which we wait a second for it to close
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectError):
            await client.publish("t", b"")
        await client.connected()
        assert len(broker.attempts) == 2
        await client.publish("t", b"")


@pytest.mark.parametrize("data", [b"", b"\x00\x02\x00\x00"])
async def test_it_connects_again_after_an_end_and_after_nonsense(
    broker: ScriptedBroker, autojump_clock: MockClock, data: bytes
) -> None:
    async with facade_of(broker, reconnect=True) as client:
        peer = await broker.peer()
        if data:
            await peer.stream.send_all(data)
        else:
            await peer.close()
        await client.disconnected()
        await client.connected()
        await client.publish("t", b"")
        await (await broker.peer()).expect(PublishPacket)
        assert len(broker.attempts) == 2
