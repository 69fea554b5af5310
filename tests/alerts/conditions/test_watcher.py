"""Seats, approvals and losses: what is open follows what is so, round after round."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from appliance.alerts.conditions.capacity import MOST_COUNTED, capacity_condition
from appliance.alerts.conditions.losses import QUIET
from appliance.alerts.conditions.own import LASTING_SECONDS, OwnConditions, OwnState
from appliance.alerts.conditions.store import raise_conditions
from appliance.alerts.conditions.watcher import TURN_LOCK, ConditionWatcher
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection
from appliance.peers.store import remove
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.clock import DoubtfulClock
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, INGEST, NOW, TENANT, add_tenant, announce, ingest, rows, sell

DAY = timedelta(days=1)
OPEN = "SELECT alert_type, severity, summary, trigger_count FROM fleet_alert WHERE status <> 'CLOSED' ORDER BY 1, id"
HELD = """
INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)
SELECT now(), 't', 'acme', 'w' || n, 'NO_SUBSCRIPTION_CAPACITY', ''
FROM generate_series(1, %s) AS n, generate_series(1, 3)
"""


@dataclass
class Machine:
    """What a test says of the machine."""

    causes: dict[str, str] = field(default_factory=dict)
    dropped: int | None = 0
    full_in: int | None = None

    def state(self) -> OwnState:
        return OwnState(dict(self.causes), self.dropped)

    async def outlook(self, _connection: Connection[Any], _now: datetime) -> int | None:
        return self.full_in


@dataclass
class Watched:
    """A watcher over a database, with a clock of the test."""

    connection: Connection[Any]
    clock: DoubtfulClock
    machine: Machine
    own: OwnConditions
    watcher: ConditionWatcher

    async def open_after(self, seconds: float = 0) -> list[tuple[Any, ...]]:
        """Return the alerts that are not closed after a round, ``seconds`` later."""
        self.clock.at += seconds
        self.own.look()
        await self.watcher.look()
        return await rows(self.connection, OPEN)


@asynccontextmanager
async def watched(database: Database, *, strategy: str = "auto") -> AsyncIterator[Watched]:
    clock = DoubtfulClock(NOW.timestamp(), NOW.timestamp(), trusted=True)
    async with (
        ingest(database) as connection,
        open_pool(database.conninfo(INGEST), name="watcher", min_size=1, max_size=2) as pool,
    ):
        await add_tenant(connection, strategy=strategy)
        machine = Machine()
        own = OwnConditions("i-1", "barn", machine.state, clock, own_broker=True)
        watcher = ConditionWatcher(pool, clock, own, machine.outlook, grace=GRACE, reopen_after=DAY)
        yield Watched(connection, clock, machine, own, watcher)


@pytest.mark.parametrize(
    ("used", "limit", "waiting", "summary"),
    [
        (8, 10, 0, None),
        (9, 10, 0, "9 of 10 seats are in use"),
        (10, 10, 0, "All 10 seats are in use: new devices must wait"),
        (1, 1, 0, "The only seat is in use: new devices must wait"),
        (10, 10, 30, "30 devices wait for a seat: all 10 seats are in use"),
        (1, 1, 1, "1 device waits for a seat: the only seat is in use"),
        (0, 0, 0, None),
        (0, 0, 2, "2 devices wait for a seat: there is no subscription with seats"),
        (1, 1, MOST_COUNTED, "10,000 or more devices wait for a seat: the only seat is in use"),
    ],
)
def test_seats_in_words(used: int, limit: int, waiting: int, summary: str | None) -> None:
    condition = capacity_condition(TENANT, used, limit, waiting)
    assert (None if condition is None else condition.summary) == summary


async def test_one_alert_follows_the_seats_of_a_tenant(database: Database) -> None:
    async with watched(database) as seen:
        await sell(seen.connection, 10)
        await announce(seen.connection, *(f"d{number}" for number in range(8)))
        assert await seen.open_after() == []
        await announce(seen.connection, "d8")
        assert await seen.open_after(5) == [("CAPACITY", "medium", "9 of 10 seats are in use", 1)]
        await announce(seen.connection, "d9")
        full = ("CAPACITY", "high", "All 10 seats are in use: new devices must wait", 2)
        assert await seen.open_after(5) == [full]
        await seen.connection.execute(HELD.encode(), [30])
        waiting = ("CAPACITY", "high", "30 devices wait for a seat: all 10 seats are in use", 3)
        assert await seen.open_after(5) == [waiting]
        assert await seen.open_after(5) == [waiting], "nothing new is not counted"
        kinds = await rows(seen.connection, "SELECT kind FROM alert_events ORDER BY id")
        assert kinds == [("opened",), ("updated",), ("updated",)]
        await sell(seen.connection, 90, SubscriptionType.TEMPORARY)
        assert await seen.open_after(5) == []


async def test_a_tenant_whose_subscriptions_have_lapsed_has_no_such_alert(database: Database) -> None:
    async with watched(database) as seen:
        await sell(seen.connection, 1, term=timedelta(days=30))
        await announce(seen.connection, "d")
        await seen.connection.execute(HELD.encode(), [2])
        assert len(await seen.open_after()) == 1
        assert await seen.open_after(50 * DAY.total_seconds()) == []


async def test_a_device_with_a_seat_does_not_wait_for_one(database: Database) -> None:
    async with watched(database) as seen:
        await sell(seen.connection, 1)
        await announce(seen.connection, "w1")
        await seen.connection.execute(HELD.encode(), [1])
        assert [row[2] for row in await seen.open_after()] == ["The only seat is in use: new devices must wait"]


async def test_devices_that_wait_for_approval_are_one_alert(database: Database) -> None:
    async with watched(database, strategy="approve") as seen:
        await sell(seen.connection, 10)
        await announce(seen.connection, "a", "b", "c")
        assert await seen.open_after() == [("APPROVAL", "low", "3 devices wait for approval", 1)]
        arrange(database, "DELETE FROM device_registry WHERE device_id <> 'a'")
        assert await seen.open_after() == [("APPROVAL", "low", "1 device waits for approval", 2)]
        arrange(database, "DELETE FROM device_registry")
        assert await seen.open_after() == []


async def test_a_suspended_tenant_is_left_alone(database: Database) -> None:
    async with watched(database, strategy="approve") as seen:
        await sell(seen.connection, 10)
        await announce(seen.connection, "a")
        assert len(await seen.open_after()) == 1
        await seen.connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'acme'")
        assert await seen.open_after() == []


async def lose(seen: Watched, lost: int, device: str = "d") -> None:
    """Note losses of a device at the time of the test's clock."""
    await seen.connection.execute(
        "INSERT INTO message_losses AS l (tenant_id, device_id, lost, first_at, last_at)"
        " SELECT 'acme', %s, %s, to_timestamp(%s), to_timestamp(%s)"
        " ON CONFLICT (tenant_id, device_id) DO UPDATE SET lost = l.lost + EXCLUDED.lost, last_at = EXCLUDED.last_at",
        [device, lost, seen.clock.at, seen.clock.at],
    )


async def losing(seen: Watched) -> None:
    await sell(seen.connection, 100)
    await announce(seen.connection, "d")
    await lose(seen, 40)


LOSES = ("MESSAGES_LOST", "high", "d loses readings: it sends more than its limit allows")


async def test_losses_are_one_alert_with_their_number_until_ten_minutes_without(database: Database) -> None:
    async with watched(database) as seen:
        await losing(seen)
        assert await seen.open_after() == [(*LOSES, 40)]
        await lose(seen, 2)
        assert await seen.open_after(5) == [(*LOSES, 42)]
        assert await seen.open_after(QUIET.total_seconds() - 6) == [(*LOSES, 42)]
        assert await seen.open_after(2) == []
        assert await rows(seen.connection, "SELECT kind FROM alert_events ORDER BY id") == [("opened",), ("closed",)]
        await lose(seen, 7)
        assert await seen.open_after() == [(*LOSES, 7)], "the next time is counted anew"


async def test_under_a_clock_in_doubt_no_loss_is_over(database: Database) -> None:
    async with watched(database) as seen:
        await losing(seen)
        await seen.open_after()
        seen.clock.trusted = False
        assert len(await seen.open_after(QUIET.total_seconds() * 2)) == 1
        seen.clock.trusted = True
        assert await seen.open_after() == []


async def test_a_loss_that_a_wrong_clock_noted_ends(database: Database) -> None:
    async with watched(database) as seen:
        await losing(seen)
        seen.clock.at -= DAY.total_seconds()
        assert await seen.open_after() == []


async def test_a_device_that_is_deactivated_loses_nothing_any_more(database: Database) -> None:
    async with watched(database) as seen:
        await losing(seen)
        await seen.open_after()
        arrange(database, "UPDATE device_registry SET status = 'REVOKED', subscription_id = NULL, updated_at = now()")
        assert await seen.open_after() == []
        assert await rows(seen.connection, "SELECT close_reason FROM fleet_alert") == [("device_deactivated",)]
        assert (
            await rows(seen.connection, "SELECT 1 FROM message_losses UNION ALL SELECT 2 FROM alert_conditions") == []
        )


async def test_appliances_on_one_database_take_turns(database: Database) -> None:
    async with watched(database, strategy="approve") as seen, ingest(database) as other:
        await sell(seen.connection, 10)
        await announce(seen.connection, "a")
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock(%s)", [TURN_LOCK])
            assert await seen.open_after() == []
        assert len(await seen.open_after()) == 1


async def test_a_person_who_holds_an_alert_holds_up_nothing_but_its_round(database: Database) -> None:
    async with watched(database, strategy="approve") as seen, ingest(database) as person:
        await sell(seen.connection, 10)
        await announce(seen.connection, "a")
        await seen.open_after()
        await announce(seen.connection, "b")
        async with person.transaction():
            await person.execute("SELECT 1 FROM fleet_alert FOR UPDATE")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await seen.watcher.look()
        assert await seen.open_after() == [("APPROVAL", "low", "2 devices wait for approval", 2)]


SYSTEM = "SELECT fingerprint, status, severity, summary FROM fleet_alert WHERE tenant_id = 'appliance' ORDER BY id"


async def test_what_is_wrong_with_the_appliance_is_an_alert_of_its_own_tenant(
    database: Database,
) -> None:
    async with watched(database) as seen:
        seen.machine.causes = {"storing": "nothing was stored for 6 s"}
        assert await seen.open_after() == [], "it may pass"
        seen.machine.causes = {"storing": "nothing was stored for 16 s"}
        await seen.open_after(LASTING_SECONDS)
        told = ("system:storing:i-1", "OPEN", "critical", "Messages to barn are not stored")
        assert await rows(seen.connection, SYSTEM) == [told]
        (details,) = await rows(seen.connection, "SELECT details FROM fleet_alert")
        assert details == ({"appliance": "barn", "cause": "nothing was stored for 16 s"},)
        seen.machine.causes = {}
        assert await seen.open_after(1) == []


async def test_an_outage_of_postgres_is_opened_and_closed_with_its_time_once_it_is_back(database: Database) -> None:
    async with watched(database) as seen:
        await seen.open_after()
        seen.machine.causes = {"postgres": "connection refused"}
        seen.own.look()
        seen.clock.at += 120
        seen.machine.causes = {}
        for _ in range(2):
            assert await seen.open_after() == []
        outage = ("system:postgres:i-1", "CLOSED", "high", "Postgres was away from barn for 2 minutes")
        assert await rows(seen.connection, SYSTEM) == [outage]
        (times,) = await rows(seen.connection, "SELECT started_at, closed_at FROM fleet_alert")
        assert times == (NOW, NOW + timedelta(minutes=2))


async def test_a_start_ends_nothing_before_it_can_know(database: Database) -> None:
    async with watched(database) as seen:
        seen.machine.causes = {"broker": "refused"}
        await seen.open_after()
        await seen.open_after(LASTING_SECONDS)
        again = OwnConditions("i-1", "barn", seen.machine.state, seen.clock, own_broker=True)
        started = replace(seen, own=again, watcher=watcher_of(seen.watcher, again))
        assert len(await started.open_after(5)) == 1
        seen.machine.causes = {}
        assert len(await started.open_after(5)) == 1
        assert await started.open_after(LASTING_SECONDS) == []


def watcher_of(watcher: ConditionWatcher, own: OwnConditions) -> ConditionWatcher:
    """Return a watcher as a restart makes it."""
    made = copy(watcher)
    made._own = own
    return made


PEERS = (
    "INSERT INTO ingest_instances (instance, name) VALUES ('i-1', 'barn'), ('i-2', 'hall'), ('i-3', 'new')",
    f"INSERT INTO listening (instance, began_at, ended_at) VALUES ('i-2', '{NOW - DAY}', '{NOW}')",
)


async def test_a_peer_that_does_not_listen_is_an_alert_until_it_is_back_or_removed(database: Database) -> None:
    async with watched(database) as seen:
        arrange(database, *PEERS)
        assert await seen.open_after(200) == []
        seen.clock.trusted = False
        assert await seen.open_after(200) == [], "in doubt nobody is called away"
        seen.clock.trusted = True
        await seen.open_after()
        away = ("system:peer:i-2", "OPEN", "high", "The appliance hall is away: it does not listen to its devices")
        assert await rows(seen.connection, SYSTEM) == [away]
        seen.clock.trusted = False
        assert len(await seen.open_after(3600)) == 1
        seen.clock.trusted = True
        await seen.connection.execute("UPDATE listening SET ended_at = to_timestamp(%s)", [seen.clock.at])
        assert await seen.open_after() == []
        await seen.open_after(3600)
        context = replace(BY, now=datetime.fromtimestamp(seen.clock.at, UTC))
        await remove(seen.connection, "i-2", context)
        assert await seen.open_after() == []


async def test_what_others_say_of_an_appliance_holds_until_it_listens(database: Database) -> None:
    async with watched(database) as seen:
        arrange(database, *PEERS)
        here = OwnConditions("i-2", "hall", seen.machine.state, seen.clock, own_broker=True)
        of_itself = replace(seen, own=here, watcher=watcher_of(seen.watcher, here))
        assert await of_itself.open_after(3600) == [], "it may have started a moment ago"
        assert len(await seen.open_after()) == 1
        assert len(await of_itself.open_after()) == 1
        await seen.connection.execute("UPDATE listening SET ended_at = to_timestamp(%s)", [seen.clock.at])
        assert await of_itself.open_after() == []


async def test_what_a_removed_appliance_said_of_itself_ends(database: Database) -> None:
    async with watched(database) as seen:
        arrange(database, "INSERT INTO ingest_instances (instance, name) VALUES ('i-1', 'barn')")
        gone = OwnConditions("i-9", "hall", seen.machine.state, seen.clock, own_broker=True)
        seen.machine.causes = {"broker": "refused"}
        gone.look()
        seen.clock.at += LASTING_SECONDS
        gone.look()
        told = gone.holding(None)
        await raise_conditions(seen.connection, told, NOW, reopen_after=DAY, keeper=gone.keeper)
        seen.machine.causes = {}
        assert len(told) == 1
        assert await seen.open_after() == []


async def test_a_quarantine_that_drops_messages_is_an_alert_for_operators(database: Database) -> None:
    async with watched(database) as seen:
        await seen.connection.execute(HELD.encode(), [1])
        await seen.connection.execute("UPDATE quarantine_totals SET evicted_at = %s", [NOW])
        await seen.open_after(5)
        full = ("system:quarantine", "OPEN", "high", "The quarantine of acme is full: its oldest messages are dropped")
        assert full in await rows(seen.connection, SYSTEM)
        await seen.open_after(3600)
        assert [status for _, status, *_ in await rows(seen.connection, SYSTEM)] == ["CLOSED"]


async def drop_day(seen: Watched, ago: int, cause: str) -> str:
    """Have the database drop an empty day of so many days ago; return it."""
    day = NOW.date() - ago * DAY
    await seen.connection.execute("SELECT telemetry_ensure_partitions(%s, %s)", [day, day])
    await seen.connection.execute(
        "SELECT telemetry_drop_day(%s, %s, %s, 'gone', 'retention', %s, false)", [day, NOW - DAY, NOW, cause]
    )
    return day.isoformat()


async def test_a_day_that_went_for_the_disk_is_an_alert_for_two_days_whoever_has_started_since(
    database: Database,
) -> None:
    alert = "SELECT status, severity, summary, details ->> 'day', started_at, trigger_count FROM fleet_alert"
    text = "The oldest readings went before their age: the disk had no room for them"
    async with watched(database) as seen:
        for ago, cause in ((9, "age"), (8, "max_bytes")):
            await drop_day(seen, ago, cause)
        assert await seen.open_after() == [], "the configuration asks for these"
        day = await drop_day(seen, 7, "disk")
        await seen.open_after(3600)  # the process that let it go told nobody: this one has just started
        assert await rows(seen.connection, alert) == [("OPEN", "high", text, day, NOW, 1)]
        day = await drop_day(seen, 6, "disk")
        await seen.open_after(2 * 86_400 - 3601)
        assert await rows(seen.connection, alert) == [("OPEN", "high", text, day, NOW, 2)]
        await seen.open_after(2)
        assert [status for status, *_ in await rows(seen.connection, alert)] == ["CLOSED"]


async def test_a_disk_that_readings_will_fill_is_an_alert(database: Database) -> None:
    async with watched(database) as seen:
        seen.machine.full_in = 9
        (alert,) = await seen.open_after()
        assert alert[2] == "The disk of barn is full in 9 days, if readings go on as before"
