"""Claims about acknowledgements with aiomqtt's interface: their order, what they say, the steps of QoS 2."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Callable

import pytest
import trio
import trio.testing
from mqtt5 import (
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    TopicFilter,
)
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted import qos0, qos1, qos2
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_facade import facade_of, nothing_waits, received, sent_since


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
