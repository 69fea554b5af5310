"""The claim that a call with aiomqtt's interface may be cancelled at any of its checkpoints: nothing is left behind."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Awaitable, Callable
from itertools import count

import pytest
import trio
import trio.testing
from mqtt5 import ConnAckPacket, PublishPacket, PubRelPacket, QoS, TopicFilter
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client
from tests.support.mqtt.answering_broker import AnsweringBroker
from tests.support.mqtt.nth_checkpoint import cancelled_at
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_facade import facade_of

Work = Callable[[Client], Awaitable[object]]
BEYOND_THE_WINDOW = 5


async def publish_once(client: Client) -> None:
    """Publish with QoS 2, to the end."""
    await client.publish("t", b"x", qos=QoS.EXACTLY_ONCE, packet_id=7)
    await client.pubrel(7)


async def publish_many(client: Client) -> None:
    """Publish more messages than the broker takes at once."""
    async with trio.open_nursery() as nursery:
        for packet_id in range(11, 11 + BEYOND_THE_WINDOW):
            nursery.start_soon(_publish, client, packet_id)


async def _publish(client: Client, packet_id: int) -> None:
    await client.publish("t", b"x", qos=QoS.AT_LEAST_ONCE, packet_id=packet_id)


async def receive(client: Client) -> None:
    """Take messages and PUBRELs, and answer them, until there is nothing more."""
    messages = client.messages()
    with trio.move_on_after(10):
        while True:
            packet = await anext(messages)
            assert packet.packet_id is not None
            if isinstance(packet, PubRelPacket):
                await client.pubcomp(packet.packet_id)
            elif packet.qos == QoS.EXACTLY_ONCE:
                await client.pubrec(packet.packet_id)
            else:
                await client.puback(packet.packet_id)


CALLS: dict[str, Work] = {
    "publish at most once": lambda client: client.publish("t", b"x"),
    "publish": lambda client: client.publish("t", b"x", qos=QoS.AT_LEAST_ONCE, packet_id=7),
    "publish exactly once": publish_once,
    "publish beyond the window": publish_many,
    "subscribe": lambda client: client.subscribe(TopicFilter("a"), TopicFilter("b")),
    "unsubscribe": lambda client: client.unsubscribe("kept"),
    "connected": lambda client: client.connected(),
    "receive": receive,
}


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_that_is_cancelled_anywhere_leaves_nothing_behind(
    autojump_clock: MockClock, call: Work, slow: bool
) -> None:
    number = 0
    for number in count(1):
        broker, answering = ScriptedBroker(), AnsweringBroker()
        broker.connack = ConnAckPacket(receive_max=3)
        async with facade_of(broker) as client, trio.open_nursery() as nursery:
            peer = await broker.peer()
            nursery.start_soon(answering.serve, peer)
            await client.subscribe(TopicFilter("kept"))
            for packet_id, qos in ((1, QoS.AT_LEAST_ONCE), (2, QoS.EXACTLY_ONCE)):
                await peer.send(PublishPacket("t", b"received", qos=qos, packet_id=packet_id))
            answering.pause = 1.0 if slow else 0.0
            reached = await cancelled_at(number, lambda: call(client))
            await trio.sleep(30)  # all answers have come
            await _finish(client, answering)
            exchanges = client._exchanges
            assert not exchanges._session.packet_ids.in_use, number
            assert not exchanges._scopes, number
            assert not exchanges._turn.locked(), number
            assert answering.subscriptions <= {"kept", "a", "b"}
            assert len(answering.subscriptions & {"a", "b"}) in {0, 2}, number
            await receive(client)
            assert sorted(answering.acknowledged) == [1, 2], number
            assert answering.completed == [2], number
            await client.publish("t", b"afterwards", qos=QoS.AT_LEAST_ONCE, packet_id=next(client.packet_ids))
            await client.subscribe(TopicFilter("afterwards"))
            nursery.cancel_scope.cancel()
        if not reached:
            break
    assert number > 1, "nothing was cancelled"


async def _finish(client: Client, answering: AnsweringBroker) -> None:
    """Go on with the exchange of QoS 2 that was cancelled, as a program would, if it had got to its PUBREC."""
    sent = [packet for packet in answering.published if packet.qos == QoS.EXACTLY_ONCE]
    if sent and client._exchanges._session.packet_ids.in_use:
        await client.publish("t", b"x", qos=QoS.EXACTLY_ONCE, packet_id=7, duplicate=True)
        await client.pubrel(7)
        assert sent == [packet for packet in answering.published if packet.qos == QoS.EXACTLY_ONCE], "it was joined"


async def test_a_client_that_is_cancelled_anywhere_while_it_comes_or_goes_leaves_no_task_and_no_connection(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        for number in count(1):
            broker, answering = ScriptedBroker(), AnsweringBroker()
            client = facade_of(broker)

            async def come_and_go() -> None:
                async with client:  # noqa: B023 - it is over before the next round
                    await client.publish("t", b"x")  # noqa: B023

            nursery.start_soon(answering.serve_all, broker)
            await trio.testing.wait_all_tasks_blocked()
            before = trio.lowlevel.current_statistics().tasks_living
            reached = await cancelled_at(number, come_and_go)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == before, number
            assert answering.open == 0, number
            async with client:
                await client.publish("t", b"afterwards")
            if not reached:
                break
        assert number > 3
        nursery.cancel_scope.cancel()
