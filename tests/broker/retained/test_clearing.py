"""What the broker keeps of messages with the retain flag: with a real Mosquitto, a real Postgres, and who publishes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from mqtt5 import PublishPacket, QoS, RetainHandling

from appliance.broker.clients import SUBSCRIPTION
from appliance.broker.retained.clearing import MAX_STATUS_BYTES, RetainedClearing
from appliance.broker.retained.sweep import RetainedSweep
from appliance.broker.retained.topics import RetainedTopics
from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from appliance.offboarding import deletion
from tests.support.embedded_broker import broker, own_session
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, ingest, issue_tenant, sell

READING = b'{"temperature": 21.5}'
MARK = "appliance/test"


@dataclass
class Setup:
    """A broker, our session with it, and what clears there. Everything is published by the appliance's own user."""

    mosquitto: Mosquitto
    session: Client
    topics: RetainedTopics
    clearing: RetainedClearing
    received: list[tuple[str, bytes]]

    def client(self) -> Client:
        endpoint = self.mosquitto.endpoint
        return Client(
            unix_socket=str(endpoint.socket),
            username=endpoint.username,
            password=endpoint.password,
            clean_start=True,
            reconnect=False,
        )

    async def publish(self, *topics: str, payload: bytes = READING) -> None:
        """Publish with the retain flag, and return once our session has all of it."""
        wanted = len(self.received) + len(topics)
        async with self.client() as client:
            await client.publish_many([(topic, payload) for topic in topics], retain=True)
        while len(self.received) < wanted:
            await trio.sleep(0.01)

    async def kept(self) -> list[str]:
        """Return the topics of which the broker holds a copy."""
        found: list[str] = []
        async with self.client() as client:
            await client.subscribe(MARK)
            await client.subscribe("tenant/#", retain_as_published=False, retain_handling=RetainHandling.SEND_ALWAYS)
            await client.publish(MARK, b"")
            async for message in client.messages():
                await client.puback(message)
                if message.topic == MARK:
                    return sorted(found)
                if message.retain:
                    found.append(message.topic)
        raise AssertionError("the connection ended")

    async def cleared(self, *left: str) -> None:
        """Return once the broker holds copies of these topics and of no others."""
        with trio.fail_after(60):
            while await self.kept() != sorted(left):
                await trio.sleep(0.05)


@asynccontextmanager
async def open_setup(database: Database, folder: Path) -> AsyncIterator[Setup]:
    """Everything running; the device d1 is registered."""
    async with AsyncExitStack() as stack:
        data = stack.enter_context(open_data_dir(folder / "data"))
        connection = await stack.enter_async_context(ingest(database))
        await issue_tenant(connection)
        await sell(connection, 2000)
        await changes.create(connection, TENANT, NewDevice("d1"), BY, grace=GRACE)
        pool = await stack.enter_async_context(open_pool(database.conninfo("appliance_ingest"), name="k", max_size=2))
        clock, metrics = SystemClock(), Metrics()
        mosquitto = broker(data, users=None)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(mosquitto.run)
        topics = RetainedTopics()
        session = await stack.enter_async_context(own_session(mosquitto, data.instance.mqtt_client_id))
        await session.subscribe(
            SUBSCRIPTION,
            max_qos=QoS.AT_LEAST_ONCE,
            no_local=True,
            retain_as_published=True,
            retain_handling=RetainHandling.SEND_NEVER,
        )
        clearing = RetainedClearing(topics, session, pool, clock, metrics)
        setup = Setup(mosquitto, session, topics, clearing, [])
        nursery.start_soon(_receive, setup)
        yield setup
        nursery.cancel_scope.cancel()


async def _receive(setup: Setup) -> None:
    """Note what the session receives, as the broker's source does after a commit."""
    async for message in setup.session.messages():
        setup.received.append((message.topic, message.payload))
        setup.clearing.settled([message.packet])
        await setup.session.puback(message)


def topic(device: str, kind: str = "telemetry") -> str:
    return f"tenant/{TENANT}/device/{device}/{kind}"


async def test_no_copy_of_a_reading_stays_and_none_of_ours_comes_back(database: Database, folder: Path) -> None:
    async with open_setup(database, folder) as there, trio.open_nursery() as nursery:
        await nursery.start(there.clearing.run)
        own = [topic("d1"), topic("d1", "heartbeat"), topic("ghost"), topic("ghost", "status"), topic("a b")]
        await there.publish(*own, topic("d1", "status"))
        await there.cleared(topic("d1", "status"))
        assert [payload for _, payload in there.received] == [READING] * 6, "an empty message of ours came back"
        await there.publish(topic("d1", "status"), payload=b"x" * (MAX_STATUS_BYTES + 1))
        assert there.topics.outstanding == 0, "the topic was looked at a moment ago: it rests for a minute"
        nursery.cancel_scope.cancel()


async def test_a_sweep_clears_what_was_left_before(database: Database, folder: Path) -> None:
    async with open_setup(database, folder) as there:
        many = [topic(f"n{number}") for number in range(500)]
        odd = [topic("d1", "q0"), "tenant/acme/device/d1/device/x/telemetry", f"tenant/gone/{'x' * 2000}"]
        stays = [topic("d1", "status"), topic("d1", "down") + "/config"]
        async with there.client() as client:
            await client.publish_many([(name, READING) for name in (*many, *odd, *stays)], retain=True)
            await client.publish(topic("d1", "heartbeat"), b"x" * 20_000, retain=True)
        sweep = RetainedSweep(there.client, there.session, there.topics, there.clearing, lambda: 0)
        found, cleared = await sweep.sweep()
        assert (found, cleared) == (len(many) + len(odd) + 2, len(many) + len(odd) + 1)
        await there.cleared(*stays)
        assert await sweep.sweep() == (1, 0)


async def test_of_a_tenant_that_is_being_deleted_not_even_a_status_stays(database: Database, folder: Path) -> None:
    """The request takes the credentials of its devices, so the broker reads its users anew, and a sweep follows."""
    async with open_setup(database, folder) as there, ingest(database) as connection:
        async with there.client() as client:
            await client.publish_many([(topic("d1", "status"), b"online")], retain=True)
        sweep = RetainedSweep(there.client, there.session, there.topics, there.clearing, lambda: 0)
        assert await sweep.sweep() == (1, 0)
        async with connection.transaction():
            await deletion.request(connection, TENANT, BY, version=None)
        assert await sweep.sweep() == (1, 1)
        await there.cleared()


async def test_a_sweep_takes_no_live_message_for_a_copy(database: Database, folder: Path) -> None:
    async with open_setup(database, folder) as there, trio.open_nursery() as nursery:

        async def publish_for_ever(*, task_status: trio.TaskStatus[None]) -> None:
            async with there.client() as client:
                await client.publish(topic("live"), READING)
                task_status.started()
                while True:
                    await client.publish_many([(topic("live"), READING)] * 50)

        await nursery.start(publish_for_ever)
        sweep = RetainedSweep(there.client, there.session, there.topics, there.clearing, lambda: 0)
        for _ in range(5):
            assert await sweep.sweep() == (0, 0)
        nursery.cancel_scope.cancel()


async def test_what_found_no_room_is_swept_and_so_is_what_a_removed_user_left(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.broker.retained.sweep.LEAST_SECONDS", 0.05)
    monkeypatch.setattr("appliance.broker.retained.sweep.SHARE", 1.0)
    monkeypatch.setattr("appliance.broker.retained.sweep.POLL_SECONDS", 0.01)
    async with open_setup(database, folder) as there, trio.open_nursery() as nursery:
        small, reloads = RetainedTopics(max_tenant_bytes=2000), [0]
        there.clearing._topics = small  # so small that a handful of topics is a flood
        sweep = RetainedSweep(there.client, there.session, small, there.clearing, lambda: reloads[0])
        await nursery.start(sweep.run)
        await swept(sweep, 1)
        await there.publish(*[topic(f"n{number}") for number in range(50)])
        assert small.without_room
        await nursery.start(there.clearing.run)
        await there.cleared()
        reloads[0] += 1
        await swept(sweep, sweep.sweeps + 1)
        nursery.cancel_scope.cancel()


async def swept(sweep: RetainedSweep, times: int) -> None:
    """Return once so many sweeps are complete."""
    with trio.fail_after(60):
        while sweep.sweeps < times:
            await trio.sleep(0.01)


async def test_a_topic_that_somebody_clears_has_no_copy_to_clear(database: Database, folder: Path) -> None:
    cleared, left = (PublishPacket(topic("d1"), payload, retain=True) for payload in (b"", READING))
    async with open_setup(database, folder) as there:
        there.clearing.settled([cleared])
        assert there.topics.outstanding == 0
        there.clearing.settled([left])
        assert there.topics.outstanding == 1
