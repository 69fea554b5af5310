"""Who is shut out of the broker for a flood: the user that sent it, and nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from appliance.broker.floods.meter import MAX_MESSAGES, FloodMeter
from appliance.broker.floods.record import FloodCause, FloodRecord
from appliance.broker.floods.watch import (
    ACQUITTED_SECONDS,
    MAX_UNREGISTERED_BYTES,
    MAX_UNREGISTERED_TOPICS,
    SPARED_SECONDS,
    FloodWatch,
)
from appliance.broker.retained.topics import RetainedTopics
from appliance.broker.shut_out import ShutOut
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import credential
from appliance.devices.device import NewDevice
from appliance.devices.registry.senders import Sender, senders_of
from appliance.devices.seats import changes
from appliance.ingest.batch import Batch, RefusedSubmission
from appliance.metrics import Metrics
from appliance.reading import Reason
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, ingest, issue_tenant, sell

ALLOWED = 150
"""Messages that the limits let through of one device within a window."""
REGISTER_MANY = (
    "INSERT INTO device_registry (tenant_id, device_id, status, created_at, updated_at) SELECT tenant_id,"
    " 'r' || n, 'INACTIVE', created_at, updated_at FROM device_registry, generate_series(1, %s) AS n"
    " WHERE device_id = 'own'"
)


@dataclass
class Setup:
    connection: Connection[Any]
    watch: FloodWatch
    topics: RetainedTopics
    record: FloodRecord
    clock: DoubtfulClock

    async def refuse(self, *devices: str) -> None:
        """Tell the watch of a batch in which a message of each of ``devices`` is refused."""
        batch = Batch((), 0)
        batch.refused += [
            RefusedSubmission(index, Reason.RATE_LIMITED, "", topic(device), b"x")
            for index, device in enumerate(devices)
        ]
        self.watch.admitted(batch)
        await self.watch.look()

    @property
    def out(self) -> list[tuple[str, FloodCause]]:
        return [(one.user, one.cause) for one in self.record.current()]


def topic(device: str, kind: str = "telemetry") -> str:
    return f"tenant/{TENANT}/device/{device}/{kind}"


@asynccontextmanager
async def open_setup(database: Database) -> AsyncIterator[Setup]:
    """A tenant with the device ``own``, which has a credential, and ``shared``, which has none."""
    async with ingest(database) as connection:
        await issue_tenant(connection)
        await sell(connection, 10)
        for name in ("own", "shared"):
            await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
        await credential.create(connection, TENANT, "own", BY)
        async with open_pool(database.conninfo("appliance_ingest"), name="floods", max_size=1) as pool:
            clock, topics = DoubtfulClock(1e9, 1e9, trusted=True), RetainedTopics()
            record = FloodRecord(ShutOut(clock), clock, Metrics())
            yield Setup(
                connection,
                FloodWatch(FloodMeter(lambda _: ALLOWED), topics, pool, record, clock),
                topics,
                record,
                clock,
            )


async def test_a_device_that_floods_is_shut_out_as_the_user_that_it_is(database: Database) -> None:
    async with open_setup(database) as there:
        await there.refuse(*["own"] * MAX_MESSAGES)
        assert there.out == []
        await there.refuse("own")
        assert there.out == [(f"{TENANT}/device/own", FloodCause.REFUSED)]
        await there.refuse(*["shared"] * (MAX_MESSAGES + 1))
        assert there.out[0] == (TENANT, FloodCause.REFUSED), "without a credential it sends as the claim user"
        assert "shared" in there.record.current()[0].detail


async def test_many_registered_devices_that_are_refused_a_little_each_are_left_alone(database: Database) -> None:
    async with open_setup(database) as there:
        await there.connection.execute(REGISTER_MANY, [MAX_MESSAGES + 1])
        await there.refuse(*[f"r{number + 1}" for number in range(MAX_MESSAGES + 1)])
        assert there.out == []
        there.clock.at += SPARED_SECONDS
        await there.refuse(*[f"ghost{number}" for number in range(2 * MAX_MESSAGES)])
        assert there.out == [(TENANT, FloodCause.REFUSED)]


async def test_new_devices_with_a_mistake_in_what_they_send_shut_nobody_out(database: Database) -> None:
    async with open_setup(database) as there:
        await there.refuse(*[f"typo{number}" for number in range(300)] * ALLOWED)
        assert there.out == []


@pytest.mark.parametrize(("devices", "each"), [(300, 200), (1001, 6), (400, ALLOWED - 20)])
async def test_a_claim_user_that_invents_devices_is_shut_out_however_it_does_it(
    database: Database, devices: int, each: int
) -> None:
    async with open_setup(database) as there:
        await there.refuse(*[f"ghost{number}" for number in range(devices)] * each)
        assert there.out == [(TENANT, FloodCause.REFUSED)]


async def test_a_tenant_that_is_left_alone_is_not_looked_up_again_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []

    async def look_up(*arguments: Any) -> dict[tuple[str, str], Sender]:
        looked_up.append(1)
        return await senders_of(*arguments)

    async with open_setup(database) as there:
        monkeypatch.setattr("appliance.broker.floods.watch.senders_of", look_up)
        for _ in range(5):
            await there.refuse(*[f"typo{number}" for number in range(100)] * (ALLOWED // 2))
        assert len(looked_up) == 1
        assert there.out == []


async def test_a_claim_user_that_leaves_copies_of_invented_devices_is_shut_out(database: Database) -> None:
    async with open_setup(database) as there:
        for number in range(MAX_UNREGISTERED_TOPICS):
            there.topics.note(topic(f"ghost{number}"), 20)
        await there.watch.look()
        assert there.out == []
        there.topics.take(there.clock.at, MAX_UNREGISTERED_TOPICS)
        there.topics.note(topic("a b"), 20)
        await there.watch.look()
        assert there.out == [(TENANT, FloodCause.RETAINED)], "those that are cleared count for a minute"


async def test_copies_of_registered_devices_are_no_flood_and_hide_none(database: Database) -> None:
    async with open_setup(database) as there:
        many = 2 * MAX_UNREGISTERED_TOPICS
        await there.connection.execute(REGISTER_MANY, [many])
        for number in range(many):
            there.topics.note(topic(f"r{number + 1}"), 20)
        await there.watch.look()
        there.clock.at += ACQUITTED_SECONDS / 2
        assert there.out == []
        for number in range(MAX_UNREGISTERED_TOPICS + 1):
            there.topics.note(topic(f"ghost{number}"), 20)
        await there.watch.look()
        assert there.out == [(TENANT, FloodCause.RETAINED)]


async def test_a_few_large_copies_are_as_much_as_many_small_ones(database: Database) -> None:
    async with open_setup(database) as there:
        for number in range(10):
            there.topics.note(topic(f"ghost{number}"), MAX_UNREGISTERED_BYTES // 9)
        await there.watch.look()
        assert there.out == [(TENANT, FloodCause.RETAINED)]


async def test_nobody_is_judged_while_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise psycopg.OperationalError("away")

    async with open_setup(database) as there:
        monkeypatch.setattr("appliance.broker.floods.watch.senders_of", away)
        with pytest.raises(psycopg.OperationalError):
            await there.refuse(*["own"] * (MAX_MESSAGES + 1))
        assert there.out == []
