"""Claims about the client against a broker in memory, where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
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

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.connection import CONTESTED_SECONDS, WITHOUT_A_WORD
from appliance.mqtt.errors import ConnectError, DisconnectedError, NegativeAckError
from appliance.mqtt.link import Link, LinkState
from appliance.mqtt.pump import MAX_READ_DELAY
from tests.support.clock import TrustedClock
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import ScriptedBroker

GRANTED = SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
RESUMED = ConnAckPacket(session_present=True)


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


class StandingClock(TrustedClock):
    """A wall clock that does not go on by itself, so that a busy machine cannot set chunks apart."""

    seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return 0.0


async def gathered() -> None:
    """Let the client read all that was sent; the clock is a mock."""
    await trio.sleep(2 * MAX_READ_DELAY)


def client_of(broker: ScriptedBroker, **options: object) -> Client:
    options.setdefault("clock", StandingClock())
    options.setdefault("backoff", Backoff(first=1, factor=2, maximum=8, jitter=0))
    return Client(transport=broker, identifier="c", **options)  # type: ignore[arg-type]


# Connecting


@pytest.mark.parametrize("ways", [{}, {"hostname": "h", "unix_socket": "/s"}])
def test_exactly_one_way_to_the_broker_is_wanted(ways: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Client(**ways)  # type: ignore[arg-type]


async def test_a_refusal_at_the_first_connect_is_raised_with_its_reason(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(reason_code=ConnAckReasonCode.NOT_AUTHORIZED, reason_str="who are you")
    with pytest.raises(ConnectError, match=r"scripted broker.*not authorized \(who are you\)") as caught:
        async with client_of(broker):
            pass
    assert caught.value.reason_code == ConnAckReasonCode.NOT_AUTHORIZED


async def test_a_broker_that_cannot_be_reached_at_first_is_an_error(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.unreachable = lambda _: True
    with pytest.raises(ConnectError, match="Connection refused") as caught:
        async with client_of(broker):
            pass
    assert caught.value.reason_code is None


async def test_a_broker_that_does_not_answer_is_an_error(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = None
    begun = trio.current_time()
    with pytest.raises(ConnectError, match="did not answer CONNECT in time"):
        async with client_of(broker, connect_timeout=7):
            pass
    assert 7 <= trio.current_time() - begun <= 8  # up to a second goes to the goodbye


async def test_keep_trying_enters_at_once_and_tries_again_after_growing_delays(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.unreachable = lambda attempt: attempt < 6
    async with client_of(broker, keep_trying=True) as client:
        assert not client.is_connected
        await client.connected()
        begun = broker.attempts[0]
        assert [moment - begun for moment in broker.attempts] == [0, 1, 3, 7, 15, 23]
        assert client.generation == 1


async def test_the_connection_is_made_again_and_counted(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        broker.connack = RESUMED
        await peer.close()
        assert (await client.disconnected()).state is LinkState.DOWN
        assert await client.connected() == RESUMED
        assert (client.generation, client.session_present) == (2, True)


async def test_a_connection_that_lasted_begins_its_delays_anew(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0):
        for lifetime in (0, 0, 100, 0):
            peer = await broker.peer()
            await trio.sleep(lifetime)
            await peer.close()
        await broker.peer()
    gaps = [later - earlier for earlier, later in zip(broker.attempts, broker.attempts[1:], strict=False)]
    assert gaps == [1, 2, 101, 2]


async def test_without_reconnect_the_end_of_the_connection_reaches_everybody(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, reconnect=False) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            with pytest.raises(DisconnectedError):
                await client.publish("t", b"")

        nursery.start_soon(publish)
        await peer.expect(PublishPacket)
        await peer.send(qos1(1))
        await peer.close()
        batches = client.batches()
        assert len((await anext(batches)).packets) == 1  # what had come in is still handed out
        with pytest.raises(DisconnectedError, match="closed the connection"):
            await anext(batches)
        with pytest.raises(DisconnectedError):
            await client.connected()


async def test_a_session_taken_over_is_told_and_left_alone_for_the_longest_delay(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        link = await client.disconnected()
        assert link.state is LinkState.TAKEN_OVER
        assert "session taken over" in link.detail
        await client.connected()
        assert broker.attempts[1] - broker.attempts[0] == 8


async def test_whoever_takes_the_session_again_and_again_is_not_fought_in_a_loop(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        for _ in range(6):
            peer = await broker.peer()
            await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        await client.disconnected()
        assert client.statistics().taken_over == 6
        peer = await broker.peer()
        await trio.sleep(CONTESTED_SECONDS)  # left in peace for so long, it forgets
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        await broker.peer()
    tries = [round(later - earlier) for earlier, later in pairwise(broker.attempts)]
    assert tries[:6] == [8, 16, 32, 32, 32, 32]
    assert tries[-1] == CONTESTED_SECONDS + 8


async def test_a_broker_that_accepts_and_hangs_up_again_and_again_is_taken_for_a_contested_session(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, session_expiry_interval=3600) as client:
        for state in [LinkState.DOWN] * (WITHOUT_A_WORD - 1) + [LinkState.TAKEN_OVER]:
            peer = await broker.peer()
            await peer.close()
            link = await client.disconnected()
            assert link.state is state
        assert "another client seems to use our client id" in link.detail
        await broker.peer()
    assert broker.attempts[-1] - broker.attempts[-2] == 8


async def test_a_broken_protocol_is_answered_with_its_reason_and_the_client_comes_back(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.stream.send_all(b"\x00\x00")
        goodbye = await peer.expect(DisconnectPacket)
        assert goodbye.reason_code == DisconnectReasonCode.MALFORMED_PACKET
        assert "malformed packet" in (await client.disconnected()).detail
        await broker.peer()


async def test_leaving_says_goodbye_and_ends_the_iterators(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with client_of(broker) as client:
            peer = await broker.peer()

            async def consume() -> None:
                assert [batch async for batch in client.batches()] == []
                assert [message async for message in client.messages()] == []

            nursery.start_soon(consume)
            await trio.testing.wait_all_tasks_blocked()
        assert (await peer.expect(DisconnectPacket)).reason_code == DisconnectReasonCode.NORMAL_DISCONNECTION
        assert await peer.packet() is None
    assert client.link.state is LinkState.CLOSED


@pytest.mark.parametrize("broker_closes", [True, False])
async def test_leaving_waits_for_the_broker_to_close_but_a_second_at_most(
    broker: ScriptedBroker, autojump_clock: MockClock, broker_closes: bool
) -> None:
    async with trio.open_nursery() as nursery:
        async with client_of(broker):
            peer = await broker.peer()

            async def close() -> None:
                await peer.expect(DisconnectPacket)
                await peer.send(qos1(1))  # a close with this unread would reset the connection
                if broker_closes:
                    await trio.sleep(0.3)
                    await peer.close()

            nursery.start_soon(close)
            begun = trio.current_time()
        assert trio.current_time() - begun == pytest.approx(0.3 if broker_closes else 1.0, abs=0.01)


async def test_leaving_by_cancellation_also_says_goodbye(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        async with client_of(broker):
            peer = await broker.peer()
            scope.cancel()
            await trio.sleep_forever()
    assert (await peer.expect(DisconnectPacket)).reason_code == DisconnectReasonCode.NORMAL_DISCONNECTION


async def test_an_exception_of_the_body_leaves_as_it_is(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with client_of(broker):
            raise LookupError("mine")


async def test_link_changes_tell_the_newest_state_until_the_end(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    seen: list[Link] = []
    async with trio.open_nursery() as nursery, client_of(broker) as client:

        async def watch() -> None:
            seen.extend([link async for link in client.link_changes()])

        nursery.start_soon(watch)
        peer = await broker.peer()
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await broker.peer()
        await trio.testing.wait_all_tasks_blocked()
    assert [(link.state, link.generation) for link in seen] == [
        (LinkState.READY, 1),
        (LinkState.DOWN, 1),
        (LinkState.READY, 2),
        (LinkState.CLOSED, 2),
    ]


# Keep-alive


async def test_pings_go_out_and_silence_brings_a_new_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=10) as client:
        peer = await broker.peer()
        begun = trio.current_time()
        for minute in (10, 20, 30):
            await peer.expect(PingReqPacket)
            assert trio.current_time() - begun == pytest.approx(minute, abs=0.5)
            if minute < 30:
                await peer.send(PingRespPacket())
        assert client.heard_at - begun == pytest.approx(20, abs=0.5), "what is sent is not heard"
        link = await client.disconnected()
        assert trio.current_time() - begun == pytest.approx(35, abs=0.5)
        assert "nothing heard from the broker for 15.0 s" in link.detail
        await broker.peer()


async def test_the_broker_may_set_the_keep_alive(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = ConnAckPacket(server_keep_alive=3)
    async with client_of(broker, keep_alive=60):
        peer = await broker.peer()
        begun = trio.current_time()
        await peer.expect(PingReqPacket)
        assert trio.current_time() - begun == pytest.approx(3, abs=0.1)


# Receiving


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


# Publishing


async def test_publish_returns_once_the_broker_has_the_message(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        done = trio.Event()

        async def publish() -> None:
            await client.publish("a/b", b"x", retain=True)
            done.set()

        nursery.start_soon(publish)
        packet = await peer.expect(PublishPacket)
        assert (packet.topic, packet.payload, packet.qos == QoS.AT_LEAST_ONCE, packet.retain) == (
            "a/b",
            b"x",
            True,
            True,
        )
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        assert packet.packet_id is not None
        await peer.send(PubAckPacket(packet.packet_id, reason_code=PubAckReasonCode.NO_MATCHING_SUBSCRIBERS))
        await done.wait()


async def test_a_refused_message_raises_with_its_reason(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            with pytest.raises(NegativeAckError, match=r"2 message.* not authorized") as caught:
                await client.publish_many([("a", b""), ("b", b""), ("c", b"")])
            assert caught.value.refused == 2
            assert caught.value.reason_code == PubAckReasonCode.NOT_AUTHORIZED

        nursery.start_soon(publish)
        no = PubAckReasonCode.NOT_AUTHORIZED
        for reason in (no, PubAckReasonCode.SUCCESS, no):
            packet = await peer.expect(PublishPacket)
            await peer.send(PubAckPacket(packet.packet_id or 0, reason_code=reason))


async def test_no_more_are_under_way_than_the_broker_takes(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = ConnAckPacket(receive_max=2)
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish_many, [("t", b"%d" % number) for number in range(5)])
        open_ids: list[int] = []
        payloads: list[bytes] = []
        while len(payloads) < 5:
            packet = await peer.expect(PublishPacket)
            payloads.append(packet.payload)
            open_ids.append(packet.packet_id or 0)
            await trio.testing.wait_all_tasks_blocked()
            assert client.statistics().unacknowledged <= 2
            if len(open_ids) == 2 or len(payloads) == 5:
                await peer.send(*[PubAckPacket(packet_id) for packet_id in open_ids])
                open_ids = []
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_unacknowledged_message_is_sent_again_after_a_reconnect(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish, "t", b"x")
        assert not (await peer.expect(PublishPacket)).duplicate
        broker.connack = RESUMED
        await peer.close()
        peer = await broker.peer()
        packet = await peer.expect(PublishPacket)
        assert packet.duplicate
        await peer.send(PubAckPacket(packet.packet_id or 0))


async def test_publishing_waits_for_a_connection(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        await peer.close()
        await client.disconnected()
        for qos in (0, 1):
            nursery.start_soon(partial(client.publish, "t", b"x", qos=qos))
        peer = await broker.peer()
        packets = [await peer.expect(PublishPacket) for _ in range(2)]
        await peer.send(*[PubAckPacket(packet.packet_id) for packet in packets if packet.packet_id])


async def test_a_cancelled_publish_harms_nobody(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.publish, "t", b"cancelled")
        first = await peer.expect(PublishPacket)
        nursery.cancel_scope.cancel()
    async with client_of(broker) as client:
        peer = await broker.peer()
        with trio.CancelScope() as scope, trio.testing.assert_checkpoints():
            scope.cancel()
            await client.publish("t", b"never sent")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.publish, "t", b"next")
            packet = await peer.expect(PublishPacket)
            assert packet.payload == b"next"
            await peer.send(PubAckPacket(first.packet_id or 0), PubAckPacket(packet.packet_id or 0))


@pytest.mark.parametrize("topic", ["", "a/#", "a/+", "a\0", "a\n", "\x7f", "\uffff", "\ud800"])
async def test_a_topic_that_cannot_be_is_a_value_error_and_the_connection_stays(
    broker: ScriptedBroker, autojump_clock: MockClock, topic: str
) -> None:
    async with client_of(broker) as client:
        with pytest.raises(ValueError, match="topic"):
            await client.publish(topic, b"")
        with pytest.raises(ValueError, match="QoS 2"):
            await client.publish("t", b"", qos=2)
        assert client.generation == 1


async def test_messages_before_one_that_cannot_be_are_sent(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        with pytest.raises(ValueError, match="topic"):
            await client.publish_many([("t", b"sound"), ("#", b"")])
        with trio.fail_after(1):  # before the first ping, which would take it along
            assert (await peer.expect(PublishPacket)).payload == b"sound"


# Subscribing


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
            with pytest.raises(NegativeAckError, match="the subscription to `a`: not authorized"):
                await client.subscribe("a")

        nursery.start_soon(subscribe)
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [SubAckReasonCode.NOT_AUTHORIZED]))
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
