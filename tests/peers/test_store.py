"""Several appliances on one database: whose devices are whose, who is away, and who may be removed."""

from datetime import datetime, timedelta

import pytest

from appliance.devices.live.listening import Listening
from appliance.devices.live.presence import PresenceThresholds
from appliance.errors import Conflict, NotFound
from appliance.peers import store
from tests.support.people import StillClock
from tests.support.pipeline import TENANT, IngestStack, arrange, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.tenants import BY, customer, ingest

SECONDS = 300.0
PRESENCES = """
SELECT d.device_id, presence_of(s, d.interval_seconds, w) FROM device_registry AS d
JOIN device_state AS s USING (tenant_id, device_id) JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
"""


def presences(database: Database) -> dict[str, str]:
    return dict(look(database, PRESENCES))


async def listen(stack: IngestStack, instance: str, clock: StillClock, seconds: float) -> None:
    """Let an instance listen for so long, as a running process does."""
    listening = Listening(stack.pool, instance, clock, PresenceThresholds())
    await listening.look(present=True)
    for _ in range(int(seconds // 10)):
        clock.at += timedelta(seconds=10)
        clock.passed += 10
        await listening.look(present=True)


def hours_later(clock: StillClock) -> datetime:
    return clock.at + timedelta(hours=2)


async def heard(stack: IngestStack, database: Database, device: str, clock: StillClock) -> None:
    await stack.send(telemetry(device, b'{"a":1}'), received=clock.now())
    await until(lambda: device in presences(database))


async def test_silence_counts_as_far_as_the_instance_listened_that_heard_the_device(database: Database) -> None:
    await furnish(database)
    clock = StillClock()
    async with open_ingest(database, instance="one", clock=clock) as one:
        await listen(one, "one", clock, 60)
        await heard(one, database, "of-one", clock)
        async with open_ingest(database, instance="two", clock=clock) as two:
            await heard(two, database, "of-two", clock)
            await listen(two, "two", clock, 20)
            await listen(one, "one", clock, 3600)  # while the other one is away
            assert presences(database) == {"of-one": "OFFLINE", "of-two": "ONLINE"}
            clock.at += timedelta(minutes=10)
            await listen(two, "two", clock, 60)  # it is back, and its device has its full interval again
            assert presences(database)["of-two"] == "ONLINE"
            await listen(two, "two", clock, 600)
            assert presences(database)["of-two"] == "OFFLINE"


async def test_a_device_belongs_to_whom_it_talked_to_last(database: Database) -> None:
    await furnish(database)
    clock = StillClock()
    async with (
        open_ingest(database, instance="one", clock=clock) as one,
        open_ingest(database, instance="two", clock=clock) as two,
    ):
        for stack, instance in ((one, "one"), (two, "two"), (one, "one")):
            clock.at += timedelta(seconds=1)
            await stack.send(telemetry("roaming", b'{"a":1}'), received=clock.now())
            await until(lambda: look(database, "SELECT heard_by FROM device_state") == [(instance,)])  # noqa: B023


async def test_an_instance_that_has_not_listened_is_away_and_its_tenants_are_told(database: Database) -> None:
    await furnish(database)
    await furnish(database, tenant="rival")
    clock = StillClock()
    async with open_ingest(database, instance="one", clock=clock) as one:
        await listen(one, "one", clock, 60)
        await heard(one, database, "d-1", clock)
    async with ingest(database) as connection:
        await store.enlist(connection, "one", "hall", "1.0")
        [here] = await store.list_all(connection, clock.at)
        assert (here.name, here.version, here.devices, here.away) == ("hall", "1.0", 1, False)
        [gone] = await store.list_all(connection, hours_later(clock))
        assert gone.away
        assert await store.away_from(connection, None, "two", clock.at) == []
        assert await store.away_from(connection, None, "one", hours_later(clock)) == [], "it does not miss itself"
        for asking, now, away in (
            ("two", clock.at, False),
            ("two", hours_later(clock), True),
            ("one", hours_later(clock), False),
        ):
            assert await store.anybody_away(connection, asking, now) is away
    async with customer(database, TENANT) as connection_of_acme:
        [told] = await store.away_from(connection_of_acme, TENANT, "two", hours_later(clock))
        assert (told.name, told.devices, told.listened_at) == ("hall", 1, gone.listened_at)
    async with customer(database, "rival") as connection_of_rival:
        assert await store.away_from(connection_of_rival, "rival", "two", hours_later(clock)) == []


async def test_only_one_that_is_away_can_be_removed_and_its_devices_stay(database: Database) -> None:
    await furnish(database)
    clock = StillClock(at=BY.now)
    async with open_ingest(database, instance="one", clock=clock) as one:
        await heard(one, database, "d-1", clock)
        await listen(one, "one", clock, 60)
    async with ingest(database) as connection:
        with pytest.raises(Conflict, match="is listening"):
            await store.remove(connection, "one", BY)
        with pytest.raises(NotFound):
            await store.remove(connection, "nobody", BY)
        await connection.execute("UPDATE listening SET began_at = '2000-01-01', ended_at = '2000-01-02'")
        await store.remove(connection, "one", BY)
        with pytest.raises(NotFound):
            await store.remove(connection, "one", BY)
    assert look(database, "SELECT count(*) FROM listening") == [(0,)]
    assert look(database, "SELECT device_id, heard_by FROM device_state") == [("d-1", None)]
    assert presences(database) == {"d-1": "ONLINE"}
    assert look(database, "SELECT object_id FROM audit_log WHERE action = 'peer.remove'") == [("one",)]


async def test_one_that_listens_though_it_was_removed_is_there_again(database: Database) -> None:
    await furnish(database)
    clock = StillClock()
    async with open_ingest(database, instance="one", clock=clock) as one:
        listening = Listening(one.pool, "one", clock, PresenceThresholds())
        await listening.look(present=True)
        arrange(database, "DELETE FROM listening")
        for _ in range(2):
            clock.at += timedelta(seconds=5)
            clock.passed += 5
            await listening.look(present=True)
    [(began_at, ended_at)] = look(database, "SELECT began_at, ended_at FROM listening")
    assert (ended_at - began_at, ended_at) == (timedelta(seconds=5), clock.at)
