"""Claims about publishing with aiomqtt's interface over a lost connection: what is sent again, and by whom."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from typing import Final

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    PubAckPacket,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    QoS,
)
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.packet_proxy import packet_proxy
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED
from tests.support.mqtt.scripted_facade import DURABLE, Calls, facade_of, reconnected, sent_since

QOS_1: Final = QoS.AT_LEAST_ONCE
QOS_2: Final = QoS.EXACTLY_ONCE


async def test_a_retry_with_qos_1_gets_the_answer(mosquitto: MosquittoServer, topic: str) -> None:
    async with packet_proxy(mosquitto.host, mosquitto.port) as proxy:
        proxy.losses = [PubAckPacket]
        async with Client(hostname="127.0.0.1", port=proxy.port, **DURABLE) as client:  # type: ignore[arg-type]
            packet_id = next(client.packet_ids)
            with pytest.raises(ConnectError):
                await client.publish(topic, b"hello", qos=QOS_1, packet_id=packet_id)
            assert (await client.connected()).session_present
            answer = await client.publish(topic, b"hello", qos=QOS_1, packet_id=packet_id, duplicate=True)
            assert answer.packet_id == packet_id


async def test_a_retry_with_qos_2_gets_both_answers(mosquitto: MosquittoServer, topic: str) -> None:
    async with packet_proxy(mosquitto.host, mosquitto.port) as proxy:
        proxy.losses = [PubRecPacket, PubCompPacket]
        async with Client(hostname="127.0.0.1", port=proxy.port, **DURABLE) as client:  # type: ignore[arg-type]
            packet_id = next(client.packet_ids)
            with pytest.raises(ConnectError):
                await client.publish(topic, b"hello", qos=QOS_2, packet_id=packet_id)
            assert (await client.connected()).session_present
            answer = await client.publish(topic, b"hello", qos=QOS_2, packet_id=packet_id, duplicate=True)
            assert answer.reason_code.name in {"SUCCESS", "NO_MATCHING_SUBSCRIBERS"}
            with pytest.raises(ConnectError):
                await client.pubrel(packet_id)
            await client.connected()
            assert (await client.pubrel(packet_id)).reason_code == PubCompReasonCode.SUCCESS


@pytest.mark.parametrize("answered", ["before the retry", "after the retry"])
async def test_the_client_sends_again_by_itself_and_a_retry_joins(
    broker: ScriptedBroker, autojump_clock: MockClock, answered: str
) -> None:
    async with facade_of(broker, **DURABLE) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("first", lambda: client.publish("t", b"one", qos=QOS_1, packet_id=1))
        await peer.expect(PublishPacket)
        peer = await reconnected(broker, peer, client, RESUMED)
        again = await peer.expect(PublishPacket)
        assert (again.packet_id, again.payload, again.duplicate) == (1, b"one", True)
        if answered == "before the retry":
            await peer.send(PubAckPacket(1))
            await trio.testing.wait_all_tasks_blocked()
        retry = lambda: client.publish("t", b"one", qos=QOS_1, packet_id=1, duplicate=True)  # noqa: E731
        await calls.start("retry", retry)
        if answered == "after the retry":
            await peer.send(PubAckPacket(1))
            await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["first"], ConnectError)
        assert isinstance(calls.results["retry"], PubAckPacket)
        assert await sent_since(peer) == []
        await calls.start("unknown", retry)
        assert (await peer.expect(PublishPacket)).duplicate, "nothing of this id was under way: it is sent"
        nursery.cancel_scope.cancel()


async def test_an_exchange_of_qos_2_goes_on_where_it_was(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker, **DURABLE) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("publish", lambda: client.publish("t", b"", qos=QOS_2, packet_id=1))
        with pytest.raises(ValueError, match="not answered"):
            await client.pubrel(1)
        await peer.send(PubRecPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["publish"], PubRecPacket)
        peer = await reconnected(broker, peer, client, RESUMED)
        assert await sent_since(peer) == [], "the PUBREL is the program's"
        assert isinstance(await client.publish("t", b"", qos=QOS_2, packet_id=1, duplicate=True), PubRecPacket)
        await calls.start("release", lambda: client.pubrel(1))
        await peer.expect(PubRelPacket)
        peer = await reconnected(broker, peer, client, RESUMED)
        assert isinstance(calls.results["release"], ConnectError)
        await peer.expect(PubRelPacket)
        await calls.start("join", lambda: client.pubrel(1))
        await peer.send(PubCompPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(calls.results["join"], PubCompPacket)
        assert await sent_since(peer) == [], "it was sent again already"
        assert not client._exchanges._session.packet_ids.in_use
        await calls.start("after its end", lambda: client.pubrel(1))
        await peer.expect(PubRelPacket)
        nursery.cancel_scope.cancel()


async def test_a_release_that_was_answered_meanwhile_returns_the_answer(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("release", lambda: client.pubrel(1))
        peer = await reconnected(broker, peer, client, RESUMED)
        await peer.expect(PubRelPacket)
        await peer.send(PubCompPacket(1))
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.pubrel(1)).packet_id == 1
        assert await sent_since(peer) == []


async def test_of_a_lost_session_qos_1_is_sent_as_new_and_qos_2_is_for_the_program_to_repeat(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker, **DURABLE) as client, trio.open_nursery() as nursery:
        peer, calls = await broker.peer(), Calls(nursery)
        await calls.start("one", lambda: client.publish("t", b"one", qos=QOS_1, packet_id=1))
        await calls.start("two", lambda: client.publish("t", b"two", qos=QOS_2, packet_id=2))
        peer = await reconnected(broker, peer, client, ConnAckPacket())
        [again] = await sent_since(peer)
        assert isinstance(again, PublishPacket)
        assert (again.packet_id, again.duplicate) == (1, False)
        await calls.start("two", lambda: client.publish("t", b"two", qos=QOS_2, packet_id=2, duplicate=True))
        repeated = await peer.expect(PublishPacket)
        assert (repeated.packet_id, repeated.duplicate) == (2, True)
        nursery.cancel_scope.cancel()
