"""Claims about the client against a real Mosquitto."""

import secrets

import pytest
import trio
from mqtt5 import ConnAckReasonCode, PublishPacket, RetainHandling

from appliance.backoff import Backoff
from appliance.diagnostics import reports
from appliance.mqtt.client import Client
from appliance.mqtt.connection import WITHOUT_A_WORD
from appliance.mqtt.errors import ConnectError
from appliance.mqtt.inbox import InboundBatch
from appliance.mqtt.link import LinkState
from tests.support.mosquitto_server import MosquittoServer
from tests.support.tcp_proxy import tcp_proxy

DEADLINE = 60.0
SESSION_SECONDS = 3600


@pytest.fixture
def prefix() -> str:
    """A topic of our own on the shared broker."""
    return f"test/{secrets.token_hex(6)}"


def quick() -> Backoff:
    return Backoff(first=0.01, maximum=0.1)


def durable(server: MosquittoServer, identifier: str, port: int | None = None, **options: object) -> Client:
    """A client with a session that outlives its connections."""
    return Client(
        server.host,
        port or server.port,
        identifier=identifier,
        session_expiry_interval=SESSION_SECONDS,
        backoff=quick(),
        **options,  # type: ignore[arg-type]
    )


async def received(client: Client, count: int, acknowledge: bool = True) -> list[PublishPacket]:
    """The next ``count`` messages."""
    packets: list[PublishPacket] = []
    batches = client.batches()
    with trio.fail_after(DEADLINE):
        while len(packets) < count:
            batch = await anext(batches)
            packets += batch.packets
            if acknowledge:
                await client.acknowledge(batch)
    assert len(packets) == count
    return packets


async def test_a_session_that_another_client_takes_comes_back_with_every_message(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    async with durable(mosquitto, prefix) as ours, Client(mosquitto.host, mosquitto.port) as device:
        await ours.subscribe(f"{prefix}/#")
        await device.publish_many((f"{prefix}/before", b"%d" % number) for number in range(50))
        for _ in range(WITHOUT_A_WORD):
            with trio.fail_after(DEADLINE):
                await ours.ready()
                async with durable(mosquitto, prefix, reconnect=False) as rival:
                    await device.publish_many((f"{prefix}/meanwhile", b"%d" % number) for number in range(50))
                    await rival.disconnected()  # we are back
        assert ours.statistics().taken_over == 1
        assert "copy of the data folder" in str(reports.report_session(64)(ours).last_error)
        assert len(await received(ours, 50 + 50 * WITHOUT_A_WORD)) == 50 + 50 * WITHOUT_A_WORD


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_go_both_ways(mosquitto: MosquittoServer, prefix: str, qos: int, unix: bool) -> None:
    client = Client(unix_socket=mosquitto.unix_socket) if unix else Client(mosquitto.host, mosquitto.port)
    async with client:
        assert int(await client.subscribe(f"{prefix}/#", max_qos=qos)) == qos
        await client.publish(f"{prefix}/a", b"ours", qos=qos)
        [packet] = await received(client, 1)
        assert (packet.topic, packet.payload, int(packet.qos)) == (f"{prefix}/a", b"ours", qos)
        command = ["mosquitto_pub", "-p", str(mosquitto.port), "-V", "5", "-q", str(qos)]
        await trio.run_process([*command, "-t", f"{prefix}/b", "-m", "theirs"])
        assert (await received(client, 1))[0].payload == b"theirs"


async def test_our_messages_reach_other_clients(mosquitto: MosquittoServer, prefix: str) -> None:
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-q", "1", "-C", "1", "-W", "10", "-t", f"{prefix}/x"]
    async with Client(mosquitto.host, mosquitto.port) as client:
        await client.publish(f"{prefix}/x", b"seen by others", retain=True)
        process = await trio.run_process(command, capture_stdout=True)
        assert process.stdout == b"seen by others\n"
        await client.publish(f"{prefix}/x", b"", retain=True)


async def test_a_retained_message_comes_as_the_retain_handling_says(mosquitto: MosquittoServer, prefix: str) -> None:
    async with Client(mosquitto.host, mosquitto.port) as client:
        await client.publish(f"{prefix}/kept", b"old", retain=True)
        await client.subscribe(f"{prefix}/+", retain_handling=RetainHandling.SEND_NEVER)
        await client.publish(f"{prefix}/new", b"new")
        assert (await received(client, 1))[0].payload == b"new"
        await client.unsubscribe(f"{prefix}/+")
        await client.subscribe(f"{prefix}/+")
        [packet] = await received(client, 1)
        assert (packet.payload, packet.retain) == (b"old", True)
        await client.publish(f"{prefix}/kept", b"", retain=True)


async def test_a_topic_that_is_cleared_tells_from_an_empty_message_also_while_we_were_away(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    identifier = secrets.token_hex(8)
    options = {"no_local": True, "retain_as_published": True, "retain_handling": RetainHandling.SEND_NEVER}
    async with Client(mosquitto.host, mosquitto.port) as device:
        await device.publish(f"{prefix}/kept", b"old", retain=True)
        async with durable(mosquitto, identifier) as ours:
            await ours.subscribe(f"{prefix}/+", **options)  # type: ignore[arg-type]
            await device.publish(f"{prefix}/kept", b"", retain=True)
            await device.publish(f"{prefix}/kept", b"")
            assert [packet.retain for packet in await received(ours, 2)] == [True, False]
        await device.publish(f"{prefix}/kept", b"", retain=True)
        await device.publish(f"{prefix}/kept", b"", retain=True, qos=0)
        await device.publish(f"{prefix}/kept", b"")
        async with durable(mosquitto, identifier) as ours:
            assert [(packet.payload, packet.retain) for packet in await received(ours, 2)] == [
                (b"", True),
                (b"", False),
            ]


async def test_a_wrong_password_is_named_as_the_reason() -> None:
    with MosquittoServer(users={"device": "right"}) as server:
        async with Client(server.host, server.port, username="device", password="right") as client:
            assert client.is_connected
        with pytest.raises(ConnectError, match="not authorized") as caught:
            async with Client(server.host, server.port, username="device", password="wrong"):
                pass
        assert caught.value.reason_code == ConnAckReasonCode.NOT_AUTHORIZED


async def test_a_broker_that_is_not_there_is_named() -> None:
    with MosquittoServer() as server:
        port = server.port
    with pytest.raises(ConnectError, match=f"127.0.0.1:{port}: Connection refused"):
        async with Client("127.0.0.1", port):
            pass
    with pytest.raises(ConnectError, match="No such file or directory"):
        async with Client(unix_socket="/tmp/edge-no-such-socket"):
            pass


async def test_a_resumed_session_brings_the_unacknowledged_again_marked_as_duplicates(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    identifier = secrets.token_hex(8)
    async with Client(mosquitto.host, mosquitto.port) as publisher:
        async with durable(mosquitto, identifier, clean_start=True) as client:
            await client.subscribe(f"{prefix}/#")
            await publisher.publish_many([(f"{prefix}/{n}", b"%d" % n) for n in range(5)])
            batch = await anext(client.batches())
            count = len(batch.packets)
            assert not any(packet.duplicate for packet in batch.packets)
        await publisher.publish(f"{prefix}/5", b"5")  # while we are away
        async with durable(mosquitto, identifier) as client:
            assert client.session_present
            packets = await received(client, 6)
        assert [packet.payload for packet in packets] == [b"%d" % n for n in range(6)]
        assert all(packet.duplicate for packet in packets[:count])
        async with durable(mosquitto, identifier) as client:
            await publisher.publish(f"{prefix}/6", b"6")
            assert [packet.payload for packet in await received(client, 1)] == [b"6"]  # and nothing else again


async def test_acknowledgements_after_a_reconnect_do_not_touch_redelivered_messages(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    async with Client(mosquitto.host, mosquitto.port) as publisher, durable(mosquitto, prefix) as client:
        await client.subscribe(f"{prefix}/#")
        await publisher.publish(f"{prefix}/1", b"1")
        batches = client.batches()
        old = await anext(batches)
        client.drop_connection()
        new = await anext(batches)
        assert (old.generation, new.generation) == (1, 2)
        assert new.packets[0].duplicate
        assert await client.acknowledge(old) == 0
        client.drop_connection()
        newest = await anext(batches)  # the stale acknowledgement was not taken for this one
        assert newest.packets[0].duplicate
        assert await client.acknowledge(newest) == 1
        client.drop_connection()
        await publisher.publish(f"{prefix}/2", b"2")
        assert [packet.payload for packet in await received(client, 1)] == [b"2"]


async def test_a_half_open_connection_is_found_by_keep_alive_and_replaced(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as publisher,
        tcp_proxy(mosquitto.host, mosquitto.port) as proxy,
        durable(mosquitto, prefix, proxy.port, keep_alive=1) as client,
    ):
        await client.subscribe(f"{prefix}/#")
        proxy.go_silent()
        begun = trio.current_time()
        with trio.fail_after(DEADLINE):
            link = await client.disconnected()
            assert "nothing heard" in link.detail
            assert trio.current_time() - begun > 0.5
            await client.ready()
        assert proxy.connections == 2
        await publisher.publish(f"{prefix}/after", b"alive")
        assert (await received(client, 1))[0].payload == b"alive"


async def test_a_killed_broker_is_connected_to_again_and_nothing_acknowledged_to_the_publisher_is_lost() -> None:
    with MosquittoServer(persistence=True, config=["autosave_on_changes true", "autosave_interval 1"]) as server:
        async with durable(server, "consumer") as consumer, durable(server, "publisher") as publisher:
            await consumer.subscribe("t/#")
            await publisher.publish("t/1", b"before")
            assert (await received(consumer, 1))[0].payload == b"before"
            server.kill()
            for client in (consumer, publisher):
                assert (await client.disconnected()).state is LinkState.DOWN
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.publish, "t/2", b"while it was away")
                server.start()
                with trio.fail_after(DEADLINE):
                    await consumer.ready()
                    assert consumer.generation == 2
                    packets = await received(consumer, 1)
            assert packets[0].payload == b"while it was away"


async def test_twenty_thousand_messages_come_through_in_batches_once_and_in_order(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    total = 20_000
    messages = [(f"{prefix}/{number % 100}", b"%d" % number) for number in range(total)]
    async with durable(mosquitto, secrets.token_hex(8), receive_max=4096) as client:
        async with Client(mosquitto.host, mosquitto.port) as publisher, trio.open_nursery() as nursery:
            await client.subscribe(f"{prefix}/#")
            nursery.start_soon(publisher.publish_many, messages)
            packets = await received(client, total)
        assert [packet.payload for packet in packets] == [payload for _, payload in messages]
        statistics = client.statistics()
        assert (statistics.pubacks, statistics.unsolicited, statistics.waiting) == (total, 0, 0)
        assert publisher.statistics().published == total


async def test_a_consumer_that_stands_still_is_sent_no_more_than_the_receive_maximum(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as publisher,
        durable(mosquitto, prefix, receive_max=20) as client,
    ):
        await client.subscribe(f"{prefix}/#")
        await publisher.publish_many([(f"{prefix}/x", b"%d" % n) for n in range(100)])
        held: list[InboundBatch] = []
        batches = client.batches()
        while sum(batch.count for batch in held) < 20:
            held.append(await anext(batches))
        await client.publish("elsewhere", b"")  # a round trip: whatever the broker wanted to send is here
        assert client.statistics().waiting == 0
        assert await client.acknowledge(*held) == 20
        rest = await received(client, 80)
        assert [packet.payload for packet in rest] == [b"%d" % n for n in range(20, 100)]
        assert client.generation == 1


async def test_a_backlog_stays_with_a_broker_that_ignores_the_receive_maximum(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    """Mosquitto 2.0.11 sends two messages for each PUBACK while it has a backlog (its issue 2301)."""
    total, payload = 4000, bytes(10_000)
    async with (
        Client(mosquitto.host, mosquitto.port) as publisher,
        durable(mosquitto, prefix, receive_max=20) as client,
    ):
        await client.subscribe(f"{prefix}/#")
        await publisher.publish_many([(f"{prefix}/x", payload) for _ in range(total)])
        found, most, batches = 0, 0, client.batches(maximum=1)
        with trio.fail_after(DEADLINE):
            while found < total:
                batch = await anext(batches)
                found += len(batch.packets)
                most = max(most, client.statistics().waiting)
                await client.acknowledge(batch)
        assert client.generation == 1
        assert most <= 40  # the receive maximum, and what a chunk adds to it


async def test_unordered_acknowledgements_of_single_messages_settle_all(
    mosquitto: MosquittoServer, prefix: str
) -> None:
    identifier = secrets.token_hex(8)
    async with Client(mosquitto.host, mosquitto.port) as publisher:
        async with durable(mosquitto, identifier) as client:
            await client.subscribe(f"{prefix}/#")
            await publisher.publish_many([(f"{prefix}/x", b"%d" % n) for n in range(10)])
            messages = client.messages()
            found = [await anext(messages) for _ in range(10)]
            for message in reversed(found):
                await client.puback(message)
        async with durable(mosquitto, identifier) as client:
            assert client.session_present
            await publisher.publish(f"{prefix}/x", b"last")
            assert [packet.payload for packet in await received(client, 1)] == [b"last"]
