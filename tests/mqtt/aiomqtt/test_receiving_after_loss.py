"""Claims about receiving with aiomqtt's interface over a lost connection: what comes again, and what does not."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import pytest
import trio
import trio.testing
from mqtt5 import ConnAckPacket, PubRecPacket, PubRecReasonCode, PubRelPacket
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import ConnectError
from tests.support.mqtt.scripted import qos0, qos1, qos2
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED
from tests.support.mqtt.scripted_facade import DURABLE, facade_of, nothing_waits, received, reconnected, sent_since


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
        peer = await reconnected(broker, peer, client, RESUMED)
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
        peer = await reconnected(broker, peer, client, ConnAckPacket())
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
            peer = await reconnected(broker, peer, client, ConnAckPacket())
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
        peer = await reconnected(broker, peer, client, RESUMED)
        await peer.send(qos1(5))
        await trio.testing.wait_all_tasks_blocked()
        await client.puback(1)
        assert await sent_since(peer) == [], "the first message of this connection is another one"
        await peer.send(qos1(1))
        await received(client, 2)
        await client.puback(5)
        await client.puback(1)
        assert len(await sent_since(peer)) == 2
