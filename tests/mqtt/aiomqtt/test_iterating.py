"""Claims about iterating over messages with aiomqtt's interface: who gets which, and what a loss ends."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import pytest
import trio
import trio.testing
from mqtt5 import PublishPacket, TopicFilter
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted import qos0, qos1
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_facade import DURABLE, facade_of, received


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
