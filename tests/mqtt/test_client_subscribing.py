"""Claims about the subscriptions of a client, against a broker in memory where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from functools import partial

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
)
from trio.testing import MockClock

from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.mqtt.link import LinkState
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, RESUMED, client_of


async def subscribed(client: Client, peer: Peer, pattern: str, max_qos: int = 1) -> None:
    """Subscribe, and grant it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.subscribe, pattern, max_qos=max_qos))
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]))


async def says_nothing(peer: Peer) -> None:
    """The client sends nothing within a minute; it must not ping."""
    with trio.move_on_after(60) as silence:
        pytest.fail(f"it sent {await peer.packet()}")
    assert silence.cancelled_caught


async def test_a_subscription_is_granted_and_asked_for_again_on_every_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def subscribe() -> None:
            assert await client.subscribe("a/#", retain_handling=RetainHandling.SEND_NEVER) == GRANTED

        nursery.start_soon(subscribe)
        for session_present in (True, False, True):
            request = await peer.expect(SubscribePacket)
            [wanted] = request.topic_filters
            assert (wanted.pattern, wanted.max_qos == QoS.AT_LEAST_ONCE) == ("a/#", True)
            assert wanted.retain_handling == RetainHandling.SEND_NEVER
            assert client.link.state is LinkState.CONNECTED
            await peer.send(SubAckPacket(request.packet_id, [GRANTED]))
            assert (await client.ready()).generation == client.generation
            broker.connack = ConnAckPacket(session_present=session_present)
            await peer.close()
            peer = await broker.peer()


async def test_a_subscription_the_connection_breaks_on_is_granted_on_the_next(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.subscribe, "a")
        await peer.expect(SubscribePacket)
        await peer.close()
        peer = await broker.peer()
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]))


async def test_a_refused_subscription_raises_and_is_forgotten(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def subscribe() -> None:
            with pytest.raises(NegativeAckError, match=r"the subscription to `a`: not authorized \(ask for b\)$"):
                await client.subscribe("a")

        nursery.start_soon(subscribe)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [SubAckReasonCode.NOT_AUTHORIZED], reason_str="ask for b"))
        assert (await client.ready()).generation == 1


async def test_many_filters_are_asked_for_in_few_packets_after_a_reconnect(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        async with trio.open_nursery() as nursery:
            for number in range(150):
                nursery.start_soon(client.subscribe, f"t/{number}")
            for _ in range(150):
                request = await peer.expect(SubscribePacket)
                await peer.send(SubAckPacket(request.packet_id, [GRANTED]))
        await peer.close()
        peer = await broker.peer()
        assert [len((await peer.expect(SubscribePacket)).topic_filters) for _ in range(2)] == [100, 50]


async def test_unsubscribing_is_repeated_if_the_connection_breaks_before_the_answer(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.unsubscribe, "a")
        await peer.expect(UnsubscribePacket)
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        request = await peer.expect(UnsubscribePacket)
        assert request.patterns == ["a"]
        await peer.send(UnsubAckPacket(request.packet_id, [UnsubAckReasonCode.SUCCESS]))


async def test_a_filter_that_cannot_be_is_a_value_error(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        with pytest.raises(ValueError, match="`#` must be the whole last level"):
            await client.subscribe("a/#/b")


# Whose answer


async def test_each_of_two_subscribes_to_one_filter_gets_its_own_answer(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        answers: list[int] = []

        async def subscribe(max_qos: int) -> None:
            try:
                answers.append(int(await client.subscribe("a", max_qos=max_qos)))
            except NegativeAckError as refusal:
                answers.append(int(refusal.reason_code))

        nursery.start_soon(subscribe, 0)
        first = await peer.expect(SubscribePacket)
        nursery.start_soon(subscribe, 1)
        second = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(first.packet_id, [SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE]))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [0]
        await peer.send(SubAckPacket(second.packet_id, [SubAckReasonCode.NOT_AUTHORIZED]))
        await client.ready()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [0, 0x87]
        await peer.close()
        again = await (await broker.peer()).expect(SubscribePacket)
        assert [(entry.pattern, int(entry.max_qos)) for entry in again.topic_filters] == [("a", 0)]


async def test_each_of_two_unsubscribes_gets_its_own_answer_and_a_refused_one_changes_nothing(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        await subscribed(client, peer, "a")

        async def refused() -> None:
            with pytest.raises(NegativeAckError, match="to end the subscription to `a`: not authorized"):
                await client.unsubscribe("a")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            request = await peer.expect(UnsubscribePacket)
            await peer.send(UnsubAckPacket(request.packet_id, [UnsubAckReasonCode.NOT_AUTHORIZED]))
        await peer.close()
        peer = await broker.peer()
        again = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(again.packet_id, [GRANTED]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.unsubscribe, "a")
            requests = [await peer.expect(UnsubscribePacket)]
            nursery.start_soon(refused)
            requests.append(await peer.expect(UnsubscribePacket))
            codes = [UnsubAckReasonCode.SUCCESS, UnsubAckReasonCode.NOT_AUTHORIZED]
            await peer.send(
                *[UnsubAckPacket(request.packet_id, [code]) for request, code in zip(requests, codes, strict=True)]
            )


# Giving up


async def test_a_subscribe_that_is_given_up_before_it_was_sent_is_as_if_never_called(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        await (await broker.peer()).close()
        await client.disconnected()
        for call in (client.subscribe, client.unsubscribe):
            with trio.move_on_after(0.1):
                await call("a")
        peer = await broker.peer()
        assert (await client.ready()).generation == 2
        await says_nothing(peer)


async def test_a_subscribe_that_is_given_up_is_undone_once_it_is_granted(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.subscribe("a")
        request = await peer.expect(SubscribePacket)
        await client.ready()  # nobody waits for it
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]))
        end = await peer.expect(UnsubscribePacket)
        assert end.patterns == ["a"]
        await peer.send(UnsubAckPacket(end.packet_id, [UnsubAckReasonCode.NOT_AUTHORIZED]))  # it is not asked again
        await says_nothing(peer)
        await peer.close()
        await says_nothing(await broker.peer())


async def test_a_subscribe_that_is_given_up_and_refused_leaves_nothing_to_undo(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.subscribe("a")
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [SubAckReasonCode.NOT_AUTHORIZED]))
        await says_nothing(peer)


async def test_a_subscribe_that_is_given_up_brings_back_the_subscription_that_it_replaced(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        await subscribed(client, peer, "a", max_qos=1)
        with trio.move_on_after(1):
            await client.subscribe("a", max_qos=0)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]))
        back = await peer.expect(SubscribePacket)
        assert [(entry.pattern, int(entry.max_qos)) for entry in back.topic_filters] == [("a", 1)]


async def test_a_subscribe_that_is_given_up_does_not_undo_a_later_one(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.subscribe("a", max_qos=0)
        given_up = await peer.expect(SubscribePacket)
        nursery.start_soon(client.subscribe, "a")
        later = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(given_up.packet_id, [GRANTED]))
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(SubAckPacket(later.packet_id, [GRANTED]))
        await says_nothing(peer)


@pytest.mark.parametrize("session_present", [True, False])
async def test_a_subscribe_that_is_given_up_with_its_connection_is_undone_if_the_broker_kept_the_session(
    broker: ScriptedBroker, autojump_clock: MockClock, session_present: bool
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.subscribe("a")
        await peer.expect(SubscribePacket)
        broker.connack = ConnAckPacket(session_present=session_present)
        await peer.close()
        peer = await broker.peer()
        if session_present:
            assert (await peer.expect(UnsubscribePacket)).patterns == ["a"]
        await says_nothing(peer)


async def test_an_unsubscribe_that_is_given_up_after_it_was_sent_goes_on_by_itself(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        await subscribed(client, peer, "a")
        with trio.move_on_after(1):
            await client.unsubscribe("a")
        await peer.expect(UnsubscribePacket)
        broker.connack = RESUMED
        for _ in range(2):  # whatever happens to the connection
            await peer.close()
            peer = await broker.peer()
            request = await peer.expect(UnsubscribePacket)
        await peer.send(UnsubAckPacket(request.packet_id, [UnsubAckReasonCode.SUCCESS]))
        await says_nothing(peer)
        await peer.close()
        await says_nothing(await broker.peer())


# What the broker does not take


@pytest.mark.parametrize(
    ("connack", "pattern", "told"),
    [
        (ConnAckPacket(max_packet_size=60), "a" * 60, "broker takes at most 60"),
        (ConnAckPacket(wildcard_subscription_available=False), "a/+", "no filters with wildcards"),
        (ConnAckPacket(shared_subscription_available=False), "$share/g/a", "no shared subscriptions"),
    ],
)
async def test_a_filter_that_the_broker_does_not_take_is_a_value_error_and_never_sent(
    broker: ScriptedBroker, autojump_clock: MockClock, connack: ConnAckPacket, pattern: str, told: str
) -> None:
    broker.connack = connack
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        with pytest.raises(ValueError, match=told):
            await client.subscribe(pattern)
        if "at most" in told:
            with pytest.raises(ValueError, match=told):
                await client.unsubscribe(pattern)
        await says_nothing(peer)
        await subscribed(client, peer, "b")
        assert (await client.ready()).generation == 1


async def test_renewals_keep_to_the_packet_size_of_the_broker_and_a_filter_it_cannot_take_is_told(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        patterns = [f"topic/{number:02}" for number in range(20)]
        for pattern in [*patterns, "long/" + "x" * 100]:
            await subscribed(client, peer, pattern)
        broker.connack = ConnAckPacket(max_packet_size=60)
        await peer.close()
        peer = await broker.peer()
        found: list[str] = []
        while len(found) < 20:
            request = await peer.expect(SubscribePacket)
            assert len(request.write()) <= 60
            found += [entry.pattern for entry in request.topic_filters]
            await peer.send(SubAckPacket(request.packet_id, [GRANTED] * len(request.topic_filters)))
        assert found == patterns
        await says_nothing(peer)
        assert client.link.state is LinkState.CONNECTED, "one is not granted"
