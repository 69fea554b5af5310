"""Which `offline` statuses make a device OFFLINE, and that they move nothing else."""

import time
from typing import Any

import pytest

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.devices.live import offline_statuses
from appliance.devices.live.rebuild import rebuild_states
from appliance.devices.live.state import DeviceState
from tests.support.clock import latest_now
from tests.support.offline_statuses import PRESENCE, arranged, arranged_again, gone
from tests.support.pipeline import (
    TENANT,
    Message,
    arrange,
    look,
    telemetry,
    until,
)
from tests.support.postgres_server import Database

TIMES = "SELECT last_ts, last_seen_at, last_heard_at, learned_interval, latest FROM device_state"


def there(_tenant: str, _device: str) -> bool:
    return True


def unknown(_tenant: str, _device: str) -> None:
    return None


def offline(device: str = "d-1") -> Message:
    return Message(f"tenant/{TENANT}/device/{device}/status", b"offline")


def online(device: str = "d-1") -> Message:
    return Message(f"tenant/{TENANT}/device/{device}/status", b"online")


def reading(value: int = 1) -> Message:
    return telemetry("d-1", b'{"t":%d}' % value)


async def test_offline_counts_after_ten_seconds_without_anything_else_and_ends_with_the_next_message(
    database: Database,
) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.becomes("ONLINE")
        await ingest.send(offline())
        assert await ingest.passes(9) == 0
        assert await ingest.passes(1) == 1
        await ingest.becomes("OFFLINE")
        assert await ingest.passes(60) == 0, "it is decided"
        await ingest.send(online())
        await ingest.becomes("ONLINE")


async def test_a_refused_message_ends_it_too(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.send(offline())
        assert await ingest.passes(10) == 1
        await ingest.becomes("OFFLINE")
        await ingest.send(telemetry("d-1", b'{"t":'))
        await ingest.becomes("REFUSED")


@pytest.mark.parametrize(
    "batches",
    [
        [[offline(), reading(2)]],
        [[offline()], [reading(2)]],
        [[offline(), online()]],
        [[offline(), telemetry("d-1", b'{"t":')]],
        [[offline()], [telemetry("d-1", b"\xff")]],
        [[offline(), offline()], [reading(2)], [offline(), reading(3)]],
    ],
)
async def test_a_late_will_does_not_count_when_something_follows(
    database: Database, batches: list[list[Message]]
) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        for messages in batches:
            await ingest.send(*messages)
            ingest.clock.skipped += 1
        assert await ingest.passes(60) == 0
        assert len(ingest.stack.offline_statuses) == 0


@pytest.mark.parametrize("batches", [[[reading(2), offline()]], [[reading(2)], [offline()]]])
async def test_the_last_word_of_a_batch_counts_where_the_broker_shows_no_connection(
    database: Database, batches: list[list[Message]]
) -> None:
    async with arranged(database) as ingest:
        for messages in batches:
            await ingest.send(*messages)
        assert await ingest.passes(10) == 1
        await ingest.becomes("OFFLINE")


async def test_a_will_of_an_old_connection_does_not_count_while_the_device_is_connected(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        ingest.clock.skipped += 60
        await ingest.send(offline())
        assert await ingest.passes(10, there) == 0
        assert await ingest.passes(60, gone) == 0, "it was about the old connection"
        await ingest.send(offline())
        assert await ingest.passes(10, gone) == 1


@pytest.mark.parametrize(("silent", "counts"), [(9.0, 0), (11.0, 1)])
async def test_where_it_is_not_known_who_is_connected_a_message_shortly_before_speaks_against_it(
    database: Database, silent: float, counts: int
) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        ingest.clock.skipped += silent
        await ingest.send(offline())
        assert await ingest.passes(10, unknown) == counts
    async with arranged_again(database) as ingest:  # in one batch
        await ingest.send(reading(), offline())
        assert await ingest.passes(10, unknown) == 0


async def test_the_wait_begins_anew_after_a_break_in_which_we_did_not_listen(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.send(offline())
        await ingest.passes(9, caught_up=False)
        assert await ingest.passes(9) == 0
        await ingest.send(reading(2))  # it was on its way
        assert await ingest.passes(1) == 0
        await ingest.becomes("ONLINE")


async def test_offline_moves_no_time_no_interval_and_no_value_until_it_counts(database: Database) -> None:
    async with arranged(database) as ingest:
        for _ in range(4):
            await ingest.send(online(), reading())
            await ingest.written()
            ingest.clock.skipped += 600
        before = look(database, TIMES)
        for _ in range(3):
            await ingest.send(offline())
            await ingest.written()
            ingest.clock.skipped += 5
        assert look(database, TIMES) == before
        assert await ingest.passes(10) == 1
        await ingest.becomes("OFFLINE")
        [(*times, latest)] = look(database, TIMES)
        assert times == [*before[0][:-1]]
        assert latest == {"t": 1, "status": "offline"}
        assert look(database, "SELECT count(*) FROM telemetry WHERE metrics ->> 'status' = 'offline'") == [(3,)]


async def test_a_will_makes_no_reading_of_the_device_late(database: Database) -> None:
    async with arranged(database) as ingest:
        start = ingest.clock.now()
        await ingest.send(telemetry("d-1", b'{"t":1,"ts":%d}' % (start - 60)))
        await ingest.send(offline())
        await ingest.send(telemetry("d-1", b'{"t":2,"ts":%d}' % (start - 30)))
        assert look(database, "SELECT count(*) FROM telemetry WHERE late") == [(0,)]
        await until(lambda: look(database, "SELECT latest FROM device_state") == [({"t": 2},)])


async def test_a_device_of_which_only_its_will_came_is_new_and_then_offline(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(offline())
        await ingest.becomes("NEW")
        assert await ingest.passes(10) == 1
        await ingest.becomes("OFFLINE")
        assert look(database, "SELECT last_seen_at, last_heard_at FROM device_state") == [(None, None)]


async def test_a_peer_that_heard_the_device_since_speaks_against_it(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.becomes("ONLINE")
        ingest.clock.skipped += 60
        await ingest.send(offline())
        arrange(database, f"UPDATE device_state SET last_heard_at = to_timestamp({ingest.clock.now() + 5})")
        assert await ingest.passes(10) == 0


async def test_nothing_comes_back_of_a_device_that_was_deleted_meanwhile(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.becomes("ONLINE")
        await ingest.send(offline())
        state = await ingest.written()
        arrange(
            database,
            "UPDATE device_registry SET status = 'DECOMMISSIONED', subscription_id = NULL",
            "DELETE FROM device_state",
        )
        assert await ingest.passes(10) == 0
        assert not state.changed


async def test_an_offline_that_waits_at_a_crash_is_left_to_silence(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.send(offline())
    arrange(database, "DELETE FROM device_state")
    async with open_pool(database.conninfo(INGEST), name="rebuild", min_size=1, max_size=1) as pool:
        await rebuild_states(pool, "another", latest=latest_now())
    assert look(database, PRESENCE) == [("ONLINE",)]
    assert look(database, "SELECT latest, last_seen_at < %s FROM device_state", _now()) == [({"t": 1}, True)]


def _now() -> Any:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))


async def test_an_offline_that_counts_outlives_a_crash(database: Database) -> None:
    async with arranged(database) as ingest:
        await ingest.send(reading())
        await ingest.send(offline())
        assert await ingest.passes(10) == 1
        await ingest.becomes("OFFLINE")
    async with open_pool(database.conninfo(INGEST), name="rebuild", min_size=1, max_size=1) as pool:
        await rebuild_states(pool, "one", latest=latest_now())
    assert look(database, PRESENCE) == [("OFFLINE",)]
    async with arranged_again(database) as ingest:
        await ingest.send(reading(2))
        await ingest.becomes("ONLINE")


async def test_what_waits_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_statuses, "MAX_WAITING", 3)
    async with arranged(database) as ingest:
        for number in range(10):
            ingest.stack.offline_statuses.note(DeviceState(TENANT, f"d-{number}"), 1)
        assert len(ingest.stack.offline_statuses) == 3
