"""Claims about QoS 2 of the client: what a caller sees of both directions, and of a broker that forgets."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import pytest
import trio
from mqtt5 import (
    ConnAckPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    Will,
)
from trio.testing import MockClock

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError, NegativeAckError, SessionLostError
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker


def client_of(broker: ScriptedBroker, **options: object) -> Client:
    return Client(
        transport=broker,
        session_expiry_interval=60,
        keep_alive=0,
        backoff=Backoff(first=0.1, maximum=0.1),
        **options,  # type: ignore[arg-type]
    )


def exact(packet_id: int, payload: bytes = b"x", *, duplicate: bool = False) -> PublishPacket:
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


async def complete(peer: Peer) -> PublishPacket:
    """Play the receiver of one message of QoS 2 to its end."""
    packet = await peer.expect(PublishPacket)
    await peer.send(PubRecPacket(packet.packet_id or 0))
    release = await peer.expect(PubRelPacket)
    assert release.packet_id == packet.packet_id
    await peer.send(PubCompPacket(release.packet_id))
    return packet


async def test_publishing_returns_when_the_broker_has_completed_all_messages(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        done = trio.Event()

        async def publish() -> None:
            await client.publish_many([("t", b"1"), ("t", b"2")], qos=2)
            done.set()

        nursery.start_soon(publish)
        first, second = await peer.expect(PublishPacket), await peer.expect(PublishPacket)
        await peer.send(PubRecPacket(first.packet_id or 0), PubRecPacket(second.packet_id or 0))
        await peer.expect(PubRelPacket)
        await peer.expect(PubRelPacket)
        await peer.send(PubCompPacket(first.packet_id or 0))
        await trio.sleep(1)
        assert not done.is_set()
        await peer.send(PubCompPacket(second.packet_id or 0))
        await done.wait()
        assert client.statistics().unacknowledged == 0


async def test_a_refused_message_of_qos_2_is_a_negative_answer(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            with pytest.raises(NegativeAckError, match="quota exceeded"):
                await client.publish("t", b"1", qos=2)

        nursery.start_soon(publish)
        packet = await peer.expect(PublishPacket)
        await peer.send(PubRecPacket(packet.packet_id or 0, reason_code=PubRecReasonCode.QUOTA_EXCEEDED))


@pytest.mark.parametrize("kept", [True, False])
async def test_a_connection_lost_before_pubrec_is_told_from_a_session_that_is_lost(
    broker: ScriptedBroker, autojump_clock: MockClock, kept: bool
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        ended: list[str] = []

        async def publish() -> None:
            try:
                await client.publish_many([("t", b"1"), ("t", b"2")], qos=2)
                ended.append("arrived")
            except SessionLostError as error:
                ended.append(f"{error.messages} in doubt")

        nursery.start_soon(publish)
        for _ in range(2):
            await peer.expect(PublishPacket)
        broker.connack = ConnAckPacket(session_present=kept)
        await peer.close()
        peer = await broker.peer()
        if kept:
            again = [await peer.expect(PublishPacket) for _ in range(2)]
            assert [packet.duplicate for packet in again] == [True, True]
            await peer.send(*[PubRecPacket(packet.packet_id or 0) for packet in again])
            await peer.send(*[PubCompPacket((await peer.expect(PubRelPacket)).packet_id) for _ in again])
        await trio.sleep(1)
        assert ended == ["arrived" if kept else "2 in doubt"]


async def test_a_session_lost_after_pubrec_has_taken_the_message(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(lambda: client.publish("t", b"1", qos=2))
        packet = await peer.expect(PublishPacket)
        await peer.send(PubRecPacket(packet.packet_id or 0))
        await peer.expect(PubRelPacket)
        await peer.close()


async def test_a_cancelled_message_keeps_its_id_until_the_broker_has_completed_it(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        with trio.move_on_after(1):
            await client.publish("t", b"1", qos=2)
        assert client._session._ids.in_use == 1
        await complete(peer)
        await trio.sleep(1)
        assert client._session._ids.in_use == 0


async def test_a_batch_of_a_lost_connection_is_acknowledged_all_the_same_and_comes_once(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(exact(1), qos1(2), exact(3))
        held = await anext(client.batches())
        await peer.send(exact(4, b"waits"), qos1(5, b"forgotten"))
        await trio.sleep(1)
        broker.connack = ConnAckPacket(session_present=True)
        await peer.close()
        peer = await broker.peer()
        await peer.send(exact(1, duplicate=True), qos1(2), exact(3, duplicate=True), exact(4, b"waits", duplicate=True))
        waited = await anext(client.batches(maximum=1))
        assert waited.packets == [exact(4, b"waits")], "handed out as it came first"
        again = await anext(client.batches())
        assert again.packets == [qos1(2)]
        await client.acknowledge(waited)
        await client.acknowledge(again)
        assert await client.acknowledge(held) == 2
        answers = [await peer.packet() for _ in range(4)]
        assert answers[0] == PubRecPacket(1)
        assert [answer for answer in answers if isinstance(answer, PubRecPacket)] == [
            PubRecPacket(1),
            PubRecPacket(3),
            PubRecPacket(4),
        ]
        assert client.statistics().stale == 1


# Wills


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, DisconnectReasonCode.NORMAL_DISCONNECTION),
        (ProcessLookupError(), DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE),
        (SystemExit(3), DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE),
    ],
)
@pytest.mark.parametrize("will", [None, Will("gone", payload=b"bye")])
async def test_leaving_by_an_exception_has_the_will_published_if_there_is_one(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
    error: BaseException | None,
    reason: DisconnectReasonCode,
    will: Will | None,
) -> None:
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            try:
                async with client_of(broker, will=will):
                    if error is not None:
                        raise error
            except (ProcessLookupError, SystemExit) as raised:
                assert raised is error  # noqa: PT017 - a nursery would wrap what pytest.raises looks at

        nursery.start_soon(leave)
        peer = await broker.peer()
        assert peer.connect is not None
        assert peer.connect.will == will
        goodbye = await peer.expect(DisconnectPacket)
        expected = reason if will is not None else DisconnectReasonCode.NORMAL_DISCONNECTION
        assert goodbye.reason_code == expected
        await peer.close()


async def test_what_broke_the_first_connection_is_the_cause_of_its_error(broker: ScriptedBroker) -> None:
    broker.unreachable = lambda _: True
    with pytest.raises(ConnectError) as caught:
        async with client_of(broker):
            pass
    assert caught.value.__cause__ is broker.failure
