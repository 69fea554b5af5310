"""The shell against a real broker: bounds, acknowledgements, refusals, interruptions, the ledger."""

import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from appliance.simulate.devices import Behaviour
from appliance.simulate.fleet import Fleet
from appliance.simulate.ledger import Ledger, SentMessage, read
from appliance.simulate.publish import BrokerAddress, Publisher
from appliance.simulate.schedule import Schedule
from tests.support.busy import within
from tests.support.mosquitto_server import MosquittoServer

pytestmark = pytest.mark.real
DEADLINE = 20.0


def fleet_of(tenant: str, *behaviours: Behaviour) -> Fleet:
    return Fleet(tenant, behaviours, seed=1, run="r")


class Count:
    """Counts up to a number that somebody waits for."""

    def __init__(self, enough: int) -> None:
        self._missing = enough
        self._reached = trio.Event()

    def up(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._reached.set()

    async def reached(self) -> None:
        with trio.fail_after(DEADLINE):
            await self._reached.wait()


def count_acknowledged(publisher: Publisher, enough: int) -> Count:
    count = Count(enough)
    publisher.on_acknowledged = lambda _: count.up()
    return count


@asynccontextmanager
async def heard(server: MosquittoServer, tenant: str, enough: int) -> AsyncIterator[list[tuple[str, bytes]]]:
    """What the broker hands to a subscriber of the tenant, in order; leaving waits for as many as are ``enough``."""
    messages: list[tuple[str, bytes]] = []
    count = Count(enough)
    async with Client(server.host, server.port) as client, trio.open_nursery() as nursery:
        await client.subscribe(f"tenant/{tenant}/#")

        async def listen() -> None:
            async for message in client.messages():
                messages.append((message.topic, message.payload))
                await client.puback(message)
                count.up()

        nursery.start_soon(listen)
        yield messages
        await count.reached()
        nursery.cancel_scope.cancel()


async def test_all_messages_arrive_and_the_ledger_names_each(mosquitto: MosquittoServer) -> None:
    file = io.BytesIO()
    fleet = fleet_of("fleet1", *Behaviour, Behaviour.NORMAL)
    publisher = Publisher(fleet, Schedule(rate=0, messages=400))
    publisher.on_acknowledged = Ledger(file).record
    async with heard(mosquitto, "fleet1", 400) as messages:
        with trio.fail_after(DEADLINE):
            counts = await publisher.run(BrokerAddress(mosquitto.host, mosquitto.port), 3, "r1")
    assert (counts.sent, counts.acknowledged, counts.open) == (400, 400, 0)
    assert counts.spoken.total() == 400
    entries = read(file.getvalue())
    assert Counter(entry.topic for entry in entries) == Counter(topic for topic, _ in messages)
    assert sum(counts.expected.values()) == sum(entry.refusal is not None for entry in entries) > 0


async def test_each_device_is_heard_in_its_own_order(mosquitto: MosquittoServer) -> None:
    publisher = Publisher(fleet_of("fleet2", *[Behaviour.NORMAL] * 10), Schedule(rate=0, messages=300))
    async with heard(mosquitto, "fleet2", 300) as messages:
        await publisher.run(BrokerAddress(mosquitto.host, mosquitto.port), 4, "r2")
    for device in {topic.split("/")[3] for topic, _ in messages}:
        bodies = [payload for topic, payload in messages if topic.split("/")[3] == device]
        assert [json.loads(body)["seq"] for body in bodies] == list(range(len(bodies)))


async def test_a_run_ends_when_its_time_is_over(mosquitto: MosquittoServer) -> None:
    publisher = Publisher(fleet_of("fleet3", Behaviour.NORMAL), Schedule(rate=100, duration=0.5))
    with trio.fail_after(20):
        counts = await publisher.run(BrokerAddress(mosquitto.host, mosquitto.port), 1, "r3")
    assert 0 < counts.sent == counts.acknowledged <= 50  # fewer on a machine that had no time for it meanwhile
    assert 0.48 < counts.seconds < within(2)


async def test_a_stopped_run_still_waits_for_what_is_under_way(mosquitto: MosquittoServer) -> None:
    publisher = Publisher(fleet_of("fleet4", *[Behaviour.NORMAL] * 5), Schedule(rate=0))
    twenty = count_acknowledged(publisher, 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run, BrokerAddress(mosquitto.host, mosquitto.port), 2, "r4")
        await twenty.reached()
        publisher.stop()
    assert publisher.counts.open == 0
    assert publisher.counts.sent == publisher.counts.acknowledged >= 20


async def test_what_the_broker_refuses_is_counted_and_not_in_the_ledger() -> None:
    with MosquittoServer(users={"acme": "secret-secret"}) as server:
        (server.directory / "acl").write_text("pattern write tenant/%u/device/+/telemetry\n")
        server._config = (f"acl_file {server.directory}/acl",)
        server.restart()
        publisher = Publisher(fleet_of("acme", Behaviour.FLAPPING, Behaviour.NORMAL), Schedule(rate=0, messages=100))
        topics: list[str] = []
        publisher.on_acknowledged = lambda message: topics.append(message.topic)
        broker = BrokerAddress(server.host, server.port, "acme", "secret-secret")
        counts = await publisher.run(broker, 2, "r5")
        assert counts.refused["NOT_AUTHORIZED"] == 100 - counts.acknowledged > 0
        assert {topic.rpartition("/")[2] for topic in topics} == {"telemetry"}
        with pytest.raises(ConnectError):
            await Publisher(fleet_of("acme", Behaviour.NORMAL), Schedule(messages=1)).run(
                BrokerAddress(server.host, server.port, "acme", "wrong"), 1, "r6"
            )


async def test_a_broker_that_dies_and_comes_back_loses_no_acknowledgement() -> None:
    with MosquittoServer() as server:
        publisher = Publisher(fleet_of("acme", *[Behaviour.NORMAL] * 4), Schedule(rate=400, messages=400))
        hundred = count_acknowledged(publisher, 100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(publisher.run, BrokerAddress(server.host, server.port), 4, "r7"))
            await hundred.reached()
            server.kill()
            server.start()
        assert publisher.counts.sent == publisher.counts.acknowledged == 400


async def test_the_run_does_not_wait_for_ever_for_a_broker_that_stays_away() -> None:
    with MosquittoServer() as server:
        publisher = Publisher(
            fleet_of("acme", Behaviour.NORMAL), Schedule(rate=100, duration=0.5), acknowledge_seconds=0.3
        )
        five = count_acknowledged(publisher, 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(publisher.run, BrokerAddress(server.host, server.port), 1, "r8"))
            await five.reached()
            server.kill()
        assert publisher.counts.open > 0


def test_a_ledger_reads_back_what_it_wrote() -> None:
    file = io.BytesIO()
    ledger = Ledger(file)
    fleet = fleet_of("acme", Behaviour.MALFORMED, Behaviour.NORMAL)
    said = [fleet.speak(1_790_000_000.0)[1] for _ in range(20)]
    for message in said:
        ledger.record(message)
    assert read(file.getvalue()) == [
        SentMessage(message.topic, message.ts, message.seq, message.refusal and message.refusal.value)
        for message in said
    ]
