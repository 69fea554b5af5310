"""The claim that a call may be cancelled at any of its checkpoints: nothing is stuck, lost, or in use afterwards."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import contextlib
from collections.abc import Awaitable, Callable
from itertools import count

import pytest
import trio
import trio.testing
from mqtt5 import ConnAckPacket, PublishPacket, QoS
from trio.testing import MockClock

from appliance.mqtt.client import Client
from appliance.mqtt.errors import SessionLostError
from tests.support.mqtt.answering_broker import AnsweringBroker
from tests.support.mqtt.nth_checkpoint import cancelled_at
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import client_of

Work = Callable[[Client], Awaitable[object]]


async def receive(client: Client) -> None:
    """Take what was received, and acknowledge it."""
    await client.acknowledge(await anext(client.batches()))


async def receive_one(client: Client) -> None:
    """The same, message by message."""
    await client.puback(await anext(client.messages()))


CALLS: dict[str, Work] = {
    "publish at most once": lambda client: client.publish("t", b"x", qos=0),
    "publish": lambda client: client.publish("t", b"x"),
    "publish exactly once": lambda client: client.publish("t", b"x", qos=2),
    "publish beyond the window": lambda client: client.publish_many([("t", b"%d" % number) for number in range(8)]),
    "publish exactly once beyond the window": lambda client: client.publish_many([("t", b"x")] * 4, qos=2),
    "subscribe": lambda client: client.subscribe("a"),
    "subscribe again": lambda client: client.subscribe("kept", max_qos=0),
    "unsubscribe": lambda client: client.unsubscribe("kept"),
    "connected": lambda client: client.connected(),
    "ready": lambda client: client.ready(),
    "receive": receive,
    "receive one": receive_one,
}


def nothing_in_use(client: Client) -> bool:
    """No packet id, receipt or request is left, and no publisher's turn is held."""
    session = client._session
    return (
        not session.packet_ids.in_use
        and not len(session.outgoing)
        and not client._connection.receipts._open
        and not any(True for _ in client._connection.subscriptions._outstanding())
        and not any(turn.locked() for turn in client._publishing._turns)
    )


RECEIVING = (receive, receive_one)
ROUNDS = [(call, slow, QoS.AT_LEAST_ONCE) for call in CALLS.values() for slow in (False, True)]
ROUNDS += [(call, slow, QoS.EXACTLY_ONCE) for call in RECEIVING for slow in (False, True)]
NAMES = {call: name for name, call in CALLS.items()}


@pytest.mark.parametrize(
    ("call", "slow", "qos"), ROUNDS, ids=lambda value: NAMES[value] if callable(value) else str(value)
)
async def test_a_call_that_is_cancelled_anywhere_leaves_nothing_behind(
    autojump_clock: MockClock, call: Work, slow: bool, qos: QoS
) -> None:
    reached = True
    for number in count(1):
        broker, answering = ScriptedBroker(), AnsweringBroker()
        broker.connack = ConnAckPacket(receive_max=3)
        async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
            peer = await broker.peer()
            nursery.start_soon(answering.serve, peer)
            await client.subscribe("kept")
            await peer.send(PublishPacket("t", b"received", qos=qos, packet_id=1))
            answering.pause = 1.0 if slow else 0.0
            returned = False

            async def work() -> None:
                nonlocal returned
                await call(client)
                returned = True

            reached = await cancelled_at(number, work)
            await trio.sleep(30)  # all answers have come
            assert nothing_in_use(client), number
            wanted = client._connection.subscriptions._wanted
            assert answering.subscriptions == wanted.keys(), number
            assert ("a" in wanted) is (returned and call is CALLS["subscribe"]), number
            if "kept" in wanted:
                assert (wanted["kept"].entry.max_qos == QoS.AT_MOST_ONCE) is (
                    returned and call is CALLS["subscribe again"]
                )
            await client.publish("t", b"afterwards")
            if not answering.acknowledged:
                await receive(client)
                await trio.sleep(5)
            assert answering.acknowledged == [1], number
            assert answering.completed == [1] * (qos == QoS.EXACTLY_ONCE)
            await client.subscribe("afterwards")
            assert nothing_in_use(client), number
            assert client.generation == 1
            nursery.cancel_scope.cancel()
        if not reached:
            break
    assert number > 1, "nothing was cancelled"


@pytest.mark.parametrize("keep_trying", [False, True])
async def test_a_client_that_is_cancelled_anywhere_while_it_comes_or_goes_leaves_no_task_and_no_connection(
    autojump_clock: MockClock, keep_trying: bool
) -> None:
    async with trio.open_nursery() as nursery:
        for number in count(1):
            broker, answering = ScriptedBroker(), AnsweringBroker()
            client = client_of(broker, keep_trying=keep_trying)

            async def come_and_go() -> None:
                async with client:  # noqa: B023 - it is over before the next round
                    await client.connected()  # noqa: B023

            nursery.start_soon(answering.serve_all, broker)
            await trio.testing.wait_all_tasks_blocked()
            before = trio.lowlevel.current_statistics().tasks_living
            reached = await cancelled_at(number, come_and_go)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == before, number
            assert answering.open == 0, number
            async with client:
                await client.publish("t", b"afterwards")
            assert [packet.payload for packet in answering.published] == [b"afterwards"]
            if not reached:
                break
        assert number > 10, "entering and leaving have some checkpoints each"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kept", [True, False])
async def test_a_message_of_qos_2_that_is_cancelled_anywhere_around_a_reconnect_keeps_its_id_until_it_is_over(
    autojump_clock: MockClock, kept: bool
) -> None:
    reached = True
    for number in count(1):
        broker, answering = ScriptedBroker(), AnsweringBroker()
        answering.pause = 1.0
        async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
            nursery.start_soon(answering.serve_all, broker)
            await client.connected()
            broker.connack = ConnAckPacket(session_present=kept)

            async def work() -> None:
                async with trio.open_nursery() as calls:
                    for payload in (b"1", b"2", b"3"):
                        calls.start_soon(publish, payload)
                    await trio.sleep(2.5)  # one is released, one answered
                    client.drop_connection()

            async def publish(payload: bytes) -> None:
                with contextlib.suppress(SessionLostError):
                    await client.publish("t", payload, qos=2)

            reached = await cancelled_at(number, work)
            assert client._session.packet_ids.in_use == len(client._session.outgoing), number
            client.drop_connection()
            await trio.sleep(30)
            assert nothing_in_use(client), number
            await client.publish("t", b"afterwards", qos=2)
            nursery.cancel_scope.cancel()
        if not reached:
            break
    assert number > 10
