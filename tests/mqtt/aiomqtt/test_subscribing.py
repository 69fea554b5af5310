"""Claims about subscriptions with aiomqtt's interface: several filters a call, refusals, losses."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    PublishPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
)
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError, NegativeAckError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.answering_broker import AnsweringBroker
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, RESUMED
from tests.support.mqtt.scripted_facade import facade_of, sent_since

REFUSED = SubAckReasonCode.NOT_AUTHORIZED


async def published(client: Client, topic: str, payload: bytes) -> None:
    await client.publish(topic, payload, qos=QoS.AT_LEAST_ONCE, packet_id=next(client.packet_ids))


async def payloads(client: Client, count: int) -> list[bytes]:
    """The payloads of the next messages, which are acknowledged."""
    found = []
    messages = client.messages()
    with trio.fail_after(30):
        for _ in range(count):
            message = await anext(messages)
            assert isinstance(message, PublishPacket)
            assert message.packet_id is not None
            await client.puback(message.packet_id)
            found.append(message.payload)
    return found


async def test_what_is_published_to_a_subscription_comes(mosquitto: MosquittoServer, topic: str) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        answer = await client.subscribe(TopicFilter(topic))
        assert [code.name for code in answer.reason_codes] == ["GRANTED_QOS_EXACTLY_ONCE"]
        await published(client, topic, b"foo")
        assert await payloads(client, 1) == [b"foo"]


async def test_several_filters_are_asked_for_at_once(mosquitto: MosquittoServer, topic: str) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        filters = (TopicFilter(f"{topic}/1"), TopicFilter(f"{topic}/2", max_qos=QoS.AT_LEAST_ONCE))
        answer = await client.subscribe(*filters, subscription_id=7)
        assert len(answer.reason_codes) == 2
        await published(client, f"{topic}/1", b"foo")
        await published(client, f"{topic}/2", b"bar")
        messages = client.messages()
        for _ in range(2):
            message = await anext(messages)
            assert isinstance(message, PublishPacket)
            assert message.subscription_ids == [7]
            assert message.packet_id is not None
            await client.puback(message.packet_id)
        ended = await client.unsubscribe(f"{topic}/1", f"{topic}/2")
        assert [code.name for code in ended.reason_codes] == ["SUCCESS", "SUCCESS"]


async def test_what_a_subscription_ends_no_longer_comes(mosquitto: MosquittoServer, topic: str) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        await client.subscribe(TopicFilter(topic))
        await published(client, topic, b"foo")
        await client.unsubscribe(topic)
        await published(client, topic, b"bar")
        await client.subscribe(TopicFilter(topic))
        await published(client, topic, b"baz")
        assert await payloads(client, 2) == [b"foo", b"baz"]


async def test_the_end_of_a_subscription_that_there_was_not_is_a_success(
    mosquitto: MosquittoServer, topic: str
) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        answer = await client.unsubscribe(topic)
        assert answer.reason_codes == [UnsubAckReasonCode.NO_SUBSCRIPTION_EXISTED]


async def test_a_subscription_is_asked_for_as_it_was_told(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        wanted = TopicFilter(
            "a/+",
            max_qos=QoS.AT_MOST_ONCE,
            no_local=True,
            retain_as_published=False,
            retain_handling=RetainHandling.SEND_NEVER,
        )
        pairs = [("a", "1"), ("a", "2")]

        async def ask() -> None:
            await client.subscribe(wanted, subscription_id=268_435_455, user_properties=pairs)
            await client.unsubscribe("a/+", user_properties=pairs)

        nursery.start_soon(ask)
        subscribe = await peer.expect(SubscribePacket)
        assert (subscribe.topic_filters, subscribe.subscription_id) == ([wanted], 268_435_455)
        assert subscribe.user_properties == pairs
        await peer.send(SubAckPacket(subscribe.packet_id, [GRANTED]))
        unsubscribe = await peer.expect(UnsubscribePacket)
        assert (unsubscribe.patterns, unsubscribe.user_properties) == (["a/+"], pairs)
        await peer.send(UnsubAckPacket(unsubscribe.packet_id, [UnsubAckReasonCode.SUCCESS]))


async def test_nothing_to_ask_for_is_refused(mosquitto: MosquittoServer) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        with pytest.raises(ValueError, match="at least one filter"):
            await client.subscribe()
        with pytest.raises(ValueError, match="at least one pattern"):
            await client.unsubscribe()
        with pytest.raises(ValueError, match="holds"):
            await client.subscribe(TopicFilter("good"), TopicFilter("a\x01b"))


async def test_a_refusal_of_one_filter_is_an_error_and_the_others_hold(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, reconnect=True) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def ask() -> None:
            with pytest.raises(NegativeAckError, match="SubAckPacket: GRANTED_QOS_AT_LEAST_ONCE, NOT_AUTHORIZED"):
                await client.subscribe(TopicFilter("mine"), TopicFilter("yours"))

        nursery.start_soon(ask)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED, REFUSED]))
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await client.disconnected()
        await client.connected()
        renewed = await (await broker.peer()).expect(SubscribePacket)
        assert [entry.pattern for entry in renewed.topic_filters] == ["mine"]


@pytest.mark.parametrize("ask", [lambda c: c.subscribe(TopicFilter("t")), lambda c: c.unsubscribe("t")])
async def test_asking_without_a_connection_is_an_error(
    broker: ScriptedBroker, autojump_clock: MockClock, ask: Callable[[Client], Awaitable[object]]
) -> None:
    client = facade_of(broker)

    async def refused() -> None:
        with pytest.raises(ConnectError):
            await ask(client)

    await refused()
    async with client:
        peer = await broker.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            await trio.testing.wait_all_tasks_blocked()
            await peer.close()
        await refused()
    await refused()


async def test_a_call_ends_with_its_connection_also_if_there_is_another_one(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, reconnect=True) as client:
        peer = await broker.peer()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectError):
                    await client.subscribe(TopicFilter("t"))

            nursery.start_soon(ask)
            await peer.expect(SubscribePacket)
            await peer.close()
            await client.disconnected()
            await client.connected()
        assert await sent_since(await broker.peer()) == [], "nobody asks for it any more"


async def test_leaving_ends_a_call_that_waits(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, facade_of(broker) as client:

        async def ask() -> None:
            with pytest.raises(ConnectError):
                await client.subscribe(TopicFilter("t"))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    "answer",
    [SubAckPacket(999, [GRANTED]), UnsubAckPacket(999, [UnsubAckReasonCode.SUCCESS])],
)
async def test_an_answer_to_nothing_is_ignored(
    broker: ScriptedBroker, autojump_clock: MockClock, answer: SubAckPacket | UnsubAckPacket
) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(answer)
        await trio.testing.wait_all_tasks_blocked()
        await client.publish("t", b"")
        await peer.expect(PublishPacket)


async def test_an_answer_with_too_many_codes_ends_the_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def ask() -> None:
            with pytest.raises(ConnectError):
                await client.subscribe(TopicFilter("t"))

        nursery.start_soon(ask)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED, GRANTED]))
        await client.disconnected()


# Over connections


async def test_a_session_that_was_lost_gets_its_subscriptions_again_and_one_that_was_kept_is_not_asked(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    answering = AnsweringBroker()
    async with trio.open_nursery() as nursery:
        client = facade_of(broker, reconnect=True, session_expiry_interval=60)
        async with client:
            serve = trio.CancelScope()
            peer = await broker.peer()

            async def answer() -> None:
                with serve:
                    await answering.serve(peer)

            nursery.start_soon(answer)
            await client.subscribe(TopicFilter("a"), TopicFilter("b"), subscription_id=3)
            await client.subscribe(TopicFilter("c"))
            await client.unsubscribe("b")
            serve.cancel()
            await client.disconnected()
            broker.connack = RESUMED
            await client.connected()
            peer = await broker.peer()
            assert await sent_since(peer) == []
            broker.connack = ConnAckPacket()
            await peer.close()
            await client.disconnected()
            await client.connected()
            peer = await broker.peer()
            renewed = await sent_since(peer)
            assert all(isinstance(packet, SubscribePacket) for packet in renewed)
            assert {
                (entry.pattern, packet.subscription_id)  # type: ignore[union-attr]
                for packet in renewed
                for entry in packet.topic_filters  # type: ignore[union-attr]
            } == {("a", 3), ("c", None)}
            broker.connack = RESUMED
            await peer.close()  # before it answered
            await client.disconnected()
            await client.connected()
            assert len(await sent_since(await broker.peer())) == len(renewed), "nothing says that it holds them"


async def test_a_cancelled_subscription_is_undone(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.subscribe(TopicFilter("t"))
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]))
        assert (await peer.expect(UnsubscribePacket)).patterns == ["t"]
