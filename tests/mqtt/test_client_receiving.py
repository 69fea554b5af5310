"""Claims about what a client receives and acknowledges, against a broker in memory where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from mqtt5 import (
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PubAckPacket,
    PublishPacket,
)
from trio.testing import MockClock

from appliance.mqtt.client import Client
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED, StandingClock, client_of, gathered


async def test_all_messages_of_a_chunk_come_in_one_batch_and_are_acknowledged_in_one_write(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(3), PublishPacket("t", b""), qos1(4))
        batch = await anext(client.batches())
        assert [packet.packet_id for packet in batch.packets] == [3, None, 4]
        assert (batch.generation, batch.count) == (1, 2)
        assert await client.acknowledge(batch) == 2
        assert bytes(await peer.stream.receive_some(100)) == b"\x40\x02\x00\x03\x40\x02\x00\x04"


async def test_chunks_that_wait_are_joined_up_to_the_maximum(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        for packet_id in range(1, 8):
            await peer.send(qos1(packet_id))
            await gathered()
        batches = client.batches(maximum=3)
        found = [[packet.packet_id for packet in (await anext(batches)).packets] for _ in range(3)]
        assert found == [[1, 2, 3], [4, 5, 6], [7]]


async def test_only_chunks_that_were_read_soon_after_each_other_are_joined(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    clock = StandingClock()
    async with client_of(broker, clock=clock) as client:
        peer = await broker.peer()
        for packet_id, at in enumerate((0.0, 0.25, 0.5, 0.75, 1.0), 1):
            clock.seconds = 1_700_000_000.0 + at
            await peer.send(qos1(packet_id))
            await gathered()
        batches = client.batches(within=0.5)
        found = [[packet.packet_id for packet in (await anext(batches)).packets] for _ in range(3)]
        assert found == [[1, 2], [3, 4], [5]]


async def test_what_comes_while_the_consumer_is_at_work_is_gathered_into_larger_chunks(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        for packet_id in (1, 2, 3):
            await peer.send(qos1(packet_id))
            await trio.testing.wait_all_tasks_blocked()
        await gathered()
        batches = client.batches(maximum=1)
        found = [[packet.packet_id for packet in (await anext(batches)).packets] for _ in range(2)]
        assert found == [[1], [2, 3]]


async def test_what_comes_while_the_consumer_waits_is_handed_on_without_delay(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def consume() -> None:
            batches = client.batches()
            begun = trio.current_time()
            for _ in range(5):
                await client.acknowledge(await anext(batches))
            assert trio.current_time() == begun

        nursery.start_soon(consume)
        for packet_id in range(1, 6):
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(qos1(packet_id))


async def test_an_acknowledgement_that_is_not_waited_for_leaves_by_itself_and_in_order(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1))
        await gathered()
        await peer.send(qos1(2))
        await gathered()
        batches = client.batches(maximum=1)
        first, second = [await anext(batches) for _ in range(2)]
        assert client.acknowledge_soon(second) == 0
        assert client.acknowledge_soon(first) == 2
        assert bytes(await peer.stream.receive_some(100)) == b"\x40\x02\x00\x01\x40\x02\x00\x02"


async def test_batches_finished_out_of_order_are_acknowledged_in_arrival_order(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1), qos1(2), qos1(3))
        batches = client.batches(maximum=1)
        first = await anext(batches)
        await peer.send(qos1(4))
        second = await anext(batches)
        assert await client.acknowledge(second) == 0
        assert await client.acknowledge(first) == 4
        assert [(await peer.expect(PubAckPacket)).packet_id for _ in range(4)] == [1, 2, 3, 4]


async def test_single_messages_acknowledged_out_of_order_wait_for_the_older_ones(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"a"), PublishPacket("t", b"b"), qos1(2, b"c"))
        messages = client.messages()
        first, fleeting, last = [await anext(messages) for _ in range(3)]
        assert [message.payload for message in (first, fleeting, last)] == [b"a", b"b", b"c"]
        await client.puback(last)
        await client.puback(fleeting)
        await client.puback(first)
        assert [(await peer.expect(PubAckPacket)).packet_id for _ in range(2)] == [1, 2]
        assert client.statistics().pubacks == 2


async def test_the_rest_of_a_chunk_waits_for_the_next_iterator(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"a"), qos1(2, b"b"))
        assert [(await anext(client.messages())).payload for _ in range(2)] == [b"a", b"b"]


async def test_acknowledgements_of_a_lost_connection_are_dropped(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1))
        batches = client.batches()
        old = await anext(batches)
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        await client.connected()
        await peer.send(qos1(1))
        new = await anext(batches)
        assert await client.acknowledge(old) == 0
        assert await client.acknowledge(new) == 1
        assert (await peer.expect(PubAckPacket)).packet_id == 1
        assert client.statistics().stale == 1


async def test_what_was_not_handed_out_is_forgotten_when_the_broker_sends_it_again(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"a"), PublishPacket("t", b"fleeting"))
        await trio.testing.wait_all_tasks_blocked()
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        await peer.send(qos1(1, b"a again"))
        batches = client.batches()
        found = [packet.payload for _ in range(2) for packet in (await anext(batches)).packets]
        assert found == [b"fleeting", b"a again"]
        assert client.statistics().forgotten == 1


async def test_what_was_not_handed_out_is_kept_when_the_broker_forgot_the_session(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"only copy"))
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await broker.peer()
        await client.connected()
        batch = await anext(client.batches())
        assert [packet.payload for packet in batch.packets] == [b"only copy"]
        assert await client.acknowledge(batch) == 0


async def test_connections_that_keep_failing_do_not_fill_the_memory(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, receive_max=2) as client:
        for _ in range(5):
            peer = await broker.peer()
            await peer.send(qos1(1), qos1(2))
            await trio.testing.wait_all_tasks_blocked()
            await peer.close()
        await broker.peer()
        await client.connected()
        assert client.statistics().waiting <= 2


async def test_a_flood_of_qos_0_is_bounded_and_counted_and_qos_1_passes(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, receive_max=10) as client:
        peer = await broker.peer()
        for number in range(5):
            await peer.send(*[PublishPacket("t", b"") for _ in range(4)], qos1(number + 1))
            await gathered()
        statistics = client.statistics()
        assert (statistics.received, statistics.dropped, statistics.waiting) == (25, 10, 15)
        batch = await anext(client.batches())
        assert [packet.packet_id for packet in batch.packets if packet.packet_id] == [1, 2, 3, 4, 5]
        await peer.send(PublishPacket("t", b"room again"))
        assert (await anext(client.batches())).packets[0].payload == b"room again"


async def test_a_broker_that_overruns_the_receive_maximum_is_not_read_and_still_pinged(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, receive_max=2, keep_alive=10) as client:
        peer = await broker.peer()
        await peer.send(*[qos1(number) for number in range(1, 6)])
        batch = await anext(client.batches())
        await peer.send(qos1(6))
        for _ in range(5):
            await peer.expect(PingReqPacket)  # unanswered: we do not listen, so silence means nothing
        assert (client.statistics().received, client.statistics().overruns, client.generation) == (5, 1, 1)
        assert await client.acknowledge(batch) == 5
        assert (await anext(client.batches())).packets[0].packet_id == 6


async def test_dropping_the_connection_says_goodbye_and_comes_back_without_delay(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        broker.connack = RESUMED
        client.drop_connection()
        assert (await peer.expect(DisconnectPacket)).reason_code == DisconnectReasonCode.NORMAL_DISCONNECTION
        await peer.close()
        await broker.peer()
        assert broker.attempts[0] == broker.attempts[1]


async def test_no_message_is_handed_to_two_iterators(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker, keep_alive=0) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        found: list[tuple[str, bytes]] = []

        async def consume(name: str) -> None:
            async for message in client.messages():
                found.append((name, message.payload))
                await client.puback(message)

        for name in ("one", "other"):
            nursery.start_soon(consume, name)
        for number in range(1, 21):
            await peer.send(qos1(number, b"%d" % number), qos1(number + 100, b"%d" % (number + 100)))
            await gathered()
        assert sorted(int(payload) for _, payload in found) == [*range(1, 21), *range(101, 121)]
        acknowledged = [(await peer.expect(PubAckPacket)).packet_id for _ in range(40)]
        assert acknowledged == [number + more for number in range(1, 21) for more in (0, 100)], "in order of arrival"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("iterate", [Client.batches, Client.messages])
async def test_two_tasks_do_not_share_one_iterator(
    broker: ScriptedBroker, autojump_clock: MockClock, iterate: Callable[[Client], AsyncIterator[object]]
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        iterator = iterate(client)
        nursery.start_soon(anext, iterator)
        await trio.sleep(1)
        with pytest.raises(RuntimeError, match="an iterator of its own"):
            await anext(iterator)
        await peer.send(qos1(1))
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await anext(iterator)
        assert scope.cancelled_caught
        await peer.send(qos1(2))
        assert await anext(iterator), "a wait that was cancelled is over"
