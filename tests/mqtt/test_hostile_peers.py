"""Claims about peers that read nothing, close half, repeat themselves, or leave in the middle."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import contextlib
import re
from typing import TypeVar

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
)
from trio.testing import MockClock

from appliance.mqtt import output, pump
from appliance.mqtt.errors import ConnectError, NegativeAckError
from appliance.mqtt.link import LinkState
from tests.support.mqtt.scripted import qos1, written
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, RESUMED, client_of
from tests.support.mqtt.unbuffered import Unbuffered, accepted

# Who reads nothing


async def test_a_broker_that_sends_and_reads_nothing_fills_no_memory_and_is_given_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MAX_UNSENT_ACKS", 4000)
    broker = Unbuffered()
    async with trio.open_nursery() as nursery, client_of(broker, keep_trying=True, keep_alive=20) as client:
        peer = await accepted(broker)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await peer.send(*[qos1(number % 65535 + 1) for number in range(sent, sent + 100)])
                sent += 100

        async def acknowledge() -> None:
            async for batch in client.batches():
                client.acknowledge_soon(batch)

        async def send_until_it_breaks() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await send()

        nursery.start_soon(send_until_it_breaks)
        nursery.start_soon(acknowledge)
        await trio.sleep(29)
        assert client.is_connected
        assert 1000 <= sent <= 1300, "as many as may wait to be acknowledged, and what was being read"
        link = await client.disconnected()
        assert "the broker reads nothing for 30 s" in link.detail
        assert trio.current_time() - broker.attempts[0] <= 31
        nursery.cancel_scope.cancel()


async def test_a_publisher_to_a_broker_that_reads_nothing_waits_and_fills_no_memory(autojump_clock: MockClock) -> None:
    broker = Unbuffered()
    async with trio.open_nursery() as nursery, client_of(broker, keep_trying=True, keep_alive=20) as client:
        await accepted(broker)
        taken = 0

        def messages() -> object:
            nonlocal taken
            while True:
                taken += 1
                yield "t", b"x"

        async def publish(qos: int) -> None:
            await client.publish_many(messages(), qos=qos)  # type: ignore[arg-type]

        for qos in (0, 1):
            nursery.start_soon(publish, qos)
        await trio.sleep(29)
        assert taken <= 4 * 512
        assert re.search("reads nothing|nothing heard", (await client.disconnected()).detail)
        nursery.cancel_scope.cancel()


async def test_a_broker_that_reads_slowly_is_not_given_up_over_a_large_message(autojump_clock: MockClock) -> None:
    broker = Unbuffered()
    async with trio.open_nursery() as nursery, client_of(broker, keep_trying=True, keep_alive=20) as client:
        peer = await accepted(broker)
        nursery.start_soon(client.publish, "t", bytes(10 * pump.WRITE_BYTES))
        received = b""
        while len(received) < 10 * pump.WRITE_BYTES:
            await trio.sleep(25)
            received += bytes(await peer.stream.receive_some(pump.WRITE_BYTES))
            await peer.send(qos1(1))  # it is heard
        assert client.generation == 1
        nursery.cancel_scope.cancel()


async def test_a_broker_that_reads_no_more_is_left_once_it_has_said_its_last(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        assert isinstance(peer.stream, trio.StapledStream)
        await peer.stream.receive_stream.aclose()
        await peer.send(qos1(1, b"last words"))
        batch = await anext(client.batches())
        assert [packet.payload for packet in batch.packets] == [b"last words"]
        await client.acknowledge(batch)  # cannot be sent, and does not wait for ever
        assert (await client.disconnected()).state is LinkState.DOWN
        assert trio.current_time() - broker.attempts[0] <= 3
        await broker.peer()


# Who repeats itself


async def test_acknowledgements_that_come_twice_or_for_nothing_change_nothing(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish, "t", b"x")
        packet_id = (await peer.expect(PublishPacket)).packet_id or 0
        await peer.send(PubAckPacket(packet_id), PubAckPacket(packet_id), PubAckPacket(packet_id + 1))
        nursery.start_soon(client.subscribe, "a")
        request = await peer.expect(SubscribePacket)
        answer = SubAckPacket(request.packet_id, [GRANTED])
        refusal = SubAckPacket(request.packet_id, [SubAckReasonCode.NOT_AUTHORIZED])
        await peer.send(answer, refusal, answer)
        await client.ready()
        assert (client.generation, client.statistics().unsolicited) == (1, 4)


async def test_a_packet_id_that_is_used_again_before_it_was_acknowledged_is_acknowledged_twice_in_order(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        again = PublishPacket("t", b"again", qos=QoS.AT_LEAST_ONCE, packet_id=5, duplicate=True)
        await peer.send(qos1(5), qos1(6), again)
        batch = await anext(client.batches())
        assert [packet.payload for packet in batch.packets] == [b"x", b"x", b"again"]
        await client.acknowledge(batch)
        assert [(await peer.expect(PubAckPacket)).packet_id for _ in range(3)] == [5, 6, 5]


# What they say


R = TypeVar("R")


def _members(kind: type[R]) -> list[R]:
    return [getattr(kind, name) for name in dir(kind) if name.isupper()]


PUBACK_REASONS: list[PubAckReasonCode] = _members(PubAckReasonCode)
REFUSALS: list[ConnAckReasonCode] = [code for code in _members(ConnAckReasonCode) if code.value >= 0x80]
SUBACK_REASONS: list[SubAckReasonCode] = _members(SubAckReasonCode)
GOODBYES: list[DisconnectReasonCode] = _members(DisconnectReasonCode)


@pytest.mark.parametrize("code", sorted({reason.value for reason in PUBACK_REASONS} | {0x01, 0x7F, 0x92, 0xFF}))
async def test_every_reason_of_a_puback_is_an_answer(
    broker: ScriptedBroker, autojump_clock: MockClock, code: int
) -> None:
    known = next((reason for reason in PUBACK_REASONS if reason.value == code), None)
    async with client_of(broker, reconnect=known is not None) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            if known is None:  # a malformed packet
                with pytest.raises(Exception, match="broke the protocol: malformed packet"):
                    await client.publish("t", b"x")
            elif code >= 0x80:
                with pytest.raises(NegativeAckError) as caught:
                    await client.publish("t", b"x")
                assert caught.value.reason_code == known
            else:
                await client.publish("t", b"x")

        nursery.start_soon(publish)
        packet_id = (await peer.expect(PublishPacket)).packet_id or 0
        await peer.stream.send_all(bytes((0x40, 3, packet_id >> 8, packet_id & 255, code)))


@pytest.mark.parametrize("reason", REFUSALS, ids=lambda reason: reason.name)
async def test_every_refusal_of_a_connection_is_told_and_tried_again(
    broker: ScriptedBroker, autojump_clock: MockClock, reason: ConnAckReasonCode
) -> None:
    broker.connack = ConnAckPacket(reason_code=reason, reason_str="because")
    told = f"the broker refused us: {reason.name.lower().replace('_', ' ')} (because)"
    with pytest.raises(ConnectError, match=re.escape(told)) as caught:
        async with client_of(broker):
            pass
    assert caught.value.reason_code == reason
    async with client_of(broker, keep_trying=True) as client:
        await trio.sleep(0.5)
        assert client.link.detail == told
        broker.connack = ConnAckPacket()
        await client.connected()


@pytest.mark.parametrize("reason", SUBACK_REASONS, ids=lambda reason: reason.name)
async def test_every_reason_of_a_suback_is_an_answer(
    broker: ScriptedBroker, autojump_clock: MockClock, reason: SubAckReasonCode
) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        answers: list[object] = []

        async def subscribe() -> None:
            try:
                answers.append(await client.subscribe("a"))
            except NegativeAckError as refusal:
                answers.append(refusal.reason_code)

        nursery.start_soon(subscribe)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [reason]))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [reason]
        assert client.link.state is LinkState.READY, "a filter that was refused is not wanted"


@pytest.mark.parametrize("reason", GOODBYES, ids=lambda reason: reason.name)
async def test_every_reason_of_a_goodbye_is_told_and_the_client_comes_back(
    broker: ScriptedBroker, autojump_clock: MockClock, reason: DisconnectReasonCode
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(DisconnectPacket(reason_code=reason, reason_str="because"))
        link = await client.disconnected()
        assert reason.name.lower().replace("_", " ") in link.detail
        assert (link.state is LinkState.TAKEN_OVER) is (reason == DisconnectReasonCode.SESSION_TAKEN_OVER)
        assert await peer.packet() is None, "a goodbye is not answered"
        await client.connected()


@pytest.mark.parametrize("session_present", [True, False])
async def test_a_cut_at_every_byte_of_a_message_costs_the_connection_and_nothing_else(
    broker: ScriptedBroker, autojump_clock: MockClock, session_present: bool
) -> None:
    stream = written(qos1(1, b"first"), qos1(2, b"second"))
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        broker.connack = RESUMED if session_present else ConnAckPacket()
        for cut in range(1, len(stream)):
            await peer.stream.send_all(stream[:cut])
            await trio.sleep(1)
            await peer.close()
            await client.disconnected()
            peer = await broker.peer()
            await client.connected()
        await peer.stream.send_all(stream)
        found: list[bytes] = []
        while not found or found[-1] != b"second":
            found += [packet.payload for packet in (await anext(client.batches())).packets]
        if session_present:
            assert found == [b"first", b"second"], "what comes again is not kept twice"
        assert client.generation == len(stream)


async def test_a_connack_that_comes_too_late_is_not_taken(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = None
    async with client_of(broker, keep_trying=True, connect_timeout=5) as client:
        peer = await broker.peer()
        await trio.sleep(5.5)
        await peer.send(ConnAckPacket())
        await trio.sleep(1)
        assert (client.generation, client.is_connected) == (1, False)
        assert "did not answer CONNECT in time" in client.link.detail
        broker.connack = ConnAckPacket()
        await client.connected()
        assert client.link.session_present is False
