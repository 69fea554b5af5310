"""Claims about entering and leaving a client, against a broker in memory where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PubAckPacket,
    PublishPacket,
    SubAckPacket,
    SubscribePacket,
)
from trio.testing import MockClock

from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError, DisconnectedError
from appliance.mqtt.link import LinkState
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, client_of


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


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ExceptionGroup("mine", [ValueError()])])
async def test_whatever_the_body_raises_leaves_as_it_is(
    broker: ScriptedBroker, autojump_clock: MockClock, error: BaseException
) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - the very object is compared
        async with client_of(broker):
            raise error
    assert caught.value is error
    peer = await broker.peer()
    assert (await peer.expect(DisconnectPacket)).reason_code == DisconnectReasonCode.NORMAL_DISCONNECTION


async def test_a_cancellation_leaves_as_it_is(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    found: BaseException | None = None
    with trio.CancelScope() as scope:
        try:
            async with client_of(broker):
                scope.cancel()
                await trio.sleep_forever()
        except BaseException as error:
            found = error
            raise
    assert isinstance(found, trio.Cancelled)
    assert scope.cancelled_caught


async def test_a_bug_of_a_stream_reaches_the_body_as_it_is_and_not_in_a_group(autojump_clock: MockClock) -> None:
    class Faulty(ScriptedBroker):
        async def open(self, _: trio.Nursery) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.send_all(ConnAckPacket().write())
            ours.receive_stream.receive_some_hook = self._fail_later
            return ours

        calls = 0

        async def _fail_later(self) -> None:
            self.calls += 1
            await trio.lowlevel.checkpoint()
            if self.calls > 1:
                raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        async with client_of(Faulty()):
            await trio.sleep_forever()


# Entering again


async def test_entering_a_live_client_is_refused_and_it_goes_on(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        with pytest.raises(RuntimeError, match="entered already"):
            await client.__aenter__()
        with pytest.raises(RuntimeError, match="entered already"):
            async with client:
                pass
        await peer.send(qos1(1))
        assert await client.acknowledge(await anext(client.batches())) == 1
        assert (await peer.expect(PubAckPacket)).packet_id == 1


async def test_a_client_that_was_left_can_be_entered_again_and_loses_nothing(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = client_of(broker)
    async with client:
        peer = await broker.peer()
        await peer.send(qos1(1, b"old"))
        old = await anext(client.batches())
    async with client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(client.subscribe, "a")
        request = await peer.expect(SubscribePacket)
        await peer.send(SubAckPacket(request.packet_id, [GRANTED]), qos1(1, b"new"))
        new = await anext(client.batches())
        assert [packet.payload for packet in new.packets] == [b"new"]
        assert await client.acknowledge(old) == 0, "it belongs to a connection of the life before"
        assert await client.acknowledge(new) == 1
        nursery.start_soon(client.publish, "t", b"x")
        await peer.expect(PubAckPacket)
        packet = await peer.expect(PublishPacket)
        await peer.send(PubAckPacket(packet.packet_id or 0))
        await client.ready()
        statistics = client.statistics()
        assert (statistics.connections, statistics.received, statistics.published) == (1, 1, 1)


async def test_a_client_that_could_not_connect_can_be_entered_again(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.unreachable = lambda attempt: attempt == 1
    client = client_of(broker)
    with pytest.raises(ConnectError):
        await client.__aenter__()
    await client.__aexit__(None, None, None)
    async with client:
        assert client.is_connected


async def test_leaving_a_client_that_is_not_entered_does_nothing(broker: ScriptedBroker) -> None:
    client = client_of(broker)
    await client.__aexit__(None, None, None)
    async with client:
        await client.__aexit__(None, None, None)
        assert client.link.state is LinkState.CLOSED


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "connected": lambda client: client.connected(),
    "ready": lambda client: client.ready(),
    "publish": lambda client: client.publish("t", b""),
    "publish at most once": lambda client: client.publish("t", b"", qos=0),
    "subscribe": lambda client: client.subscribe("t"),
    "unsubscribe": lambda client: client.unsubscribe("t"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_before_entering_or_after_leaving_fails_at_once(
    broker: ScriptedBroker, autojump_clock: MockClock, call: Callable[[Client], Awaitable[object]]
) -> None:
    client = client_of(broker)
    with pytest.raises(DisconnectedError, match="not entered"), trio.fail_after(1):
        await call(client)
    async with client:
        pass
    with pytest.raises(DisconnectedError, match="was closed"), trio.fail_after(1):
        await call(client)


async def test_iterating_before_entering_fails_at_once_and_works_afterwards(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    client = client_of(broker)
    batches = client.batches()
    for iterator in (batches, client.messages()):
        with pytest.raises(DisconnectedError, match="not entered"), trio.fail_after(1):
            await anext(iterator)
    async with client:
        peer = await broker.peer()
        await peer.send(qos1(1))
        assert (await anext(batches)).count == 1


async def test_a_goodbye_that_is_interrupted_closes_the_connection_all_the_same(autojump_clock: MockClock) -> None:
    streams: list[trio.StapledStream[trio.testing.MemorySendStream, trio.abc.ReceiveStream]] = []

    class Kept(ScriptedBroker):
        async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
            stream = await super().open(tasks)
            assert isinstance(stream, trio.StapledStream)
            streams.append(stream)
            return stream

    async def interrupt() -> None:
        raise KeyboardInterrupt

    broker = Kept()
    client = client_of(broker)
    await client.__aenter__()
    streams[0].send_stream.send_all_hook = interrupt
    with pytest.raises(KeyboardInterrupt):
        await client.__aexit__(None, None, None)
    with pytest.raises(trio.ClosedResourceError):
        await streams[0].send_all(b"x")
