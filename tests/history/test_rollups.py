"""Hourly roll-ups follow the readings, however those come."""

import time
from datetime import UTC, datetime
from typing import Any

import trio
import trio.lowlevel

from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.devices import erasure
from appliance.devices.live.rebuild import rebuild_rollup_queue
from tests.support.clock import latest_now
from tests.support.pipeline import TENANT, Message, arrange, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.replays import crowded, raise_limit, replayed
from tests.support.rollups import UNCOVERED, roll, roller
from tests.support.tenants import customer, ingest

HOUR = 3600


def hour_before(hours: int) -> int:
    """When the hour so many hours ago began, in seconds."""
    return int(time.time()) // HOUR * HOUR - hours * HOUR


def timed(at: float, value: object, device: str = "d-1") -> Message:
    return telemetry(device, b'{"ts":%d,"t":%s}' % (at * 1000, str(value).encode()))


def hours(database: Database) -> list[tuple[Any, ...]]:
    """Device, metric, begin of the hour in seconds, readings, mean, low, high, last."""
    return look(
        database,
        "SELECT device_id, metric, extract(epoch FROM hour)::bigint, readings, total / readings, low, high, last"
        " FROM telemetry_hourly ORDER BY 1, 2, 3",
    )


def marks(database: Database) -> int:
    """How many there are of hours that are over; a device that is heard now has one more."""
    [(number,)] = look(database, "SELECT count(*) FROM telemetry_marks WHERE hour < now() - interval '90 minutes'")
    return int(number)


def any_marks(database: Database) -> int:
    """How many there are, that of the present hour too."""
    [(number,)] = look(database, "SELECT count(*) FROM telemetry_marks")
    return int(number)


async def test_an_hour_is_rolled_up_and_anew_when_a_late_reading_comes(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(timed(begin, 10), timed(begin + 10, 30), timed(begin + HOUR - 1, 20))
        await until(lambda: marks(database) == 1)
        await roll(database)
        assert hours(database) == [("d-1", "t", begin, 3, 20, 10, 30, 20)]
        assert marks(database) == 0
        await stack.send(timed(begin + 5, 0), timed(begin + HOUR, 7))
        await until(lambda: marks(database) == 2)
        await roll(database)
    assert hours(database) == [("d-1", "t", begin, 4, 15, 0, 30, 20), ("d-1", "t", begin + HOUR, 1, 7, 7, 7, 7)]


async def test_the_present_hour_waits_until_it_is_over(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        await until(lambda: any_marks(database))
        await roll(database)
        assert hours(database) == []
        await roll(database, ahead=HOUR + 61)
    assert [row[3:] for row in hours(database)] == [(1, 1, 1, 1, 1)]
    assert any_marks(database) == 0


async def test_a_mark_rests_so_that_late_readings_are_rolled_up_together(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(timed(begin, 1))
        await until(lambda: marks(database) == 1)
    async with roller(database, settle=300) as patient:
        assert await patient.roll() == 0
    async with roller(database, settle=300, ahead=301) as patient:
        await patient.roll()  # in the last minutes of an hour the present one, too: ahead, it is over
    assert marks(database) == 0
    assert hours(database) == [("d-1", "t", begin, 1, 1, 1, 1, 1)]


async def test_what_a_crash_left_unmarked_is_marked_at_the_start(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(timed(begin, 10))
    arrange(database, "DELETE FROM telemetry_marks", "DELETE FROM ingest_instances")
    async with open_pool(database.conninfo(INGEST), name="start", min_size=1, max_size=1) as pool:
        assert await rebuild_rollup_queue(pool, "one", now=datetime.fromtimestamp(begin, UTC), latest=latest_now()) == 1
    await roll(database)
    assert hours(database) == [("d-1", "t", begin, 1, 10, 10, 10, 10)]


async def test_numbers_and_booleans_are_rolled_up_and_no_text(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(
            telemetry("d-1", b'{"ts":%d,"open":true,"name":"x","big":9007199254740993}' % begin),
            telemetry("d-1", b'{"ts":%d,"open":false}' % (begin + 1)),
        )
        await until(lambda: marks(database) == 1)
    await roll(database)
    assert [row[1:] for row in hours(database)] == [
        ("big", begin, 1, 9007199254740992, 9007199254740992, 9007199254740992, 9007199254740992),
        ("open", begin, 2, 0.5, 0, 1, 0),
    ]


async def test_absurd_numbers_are_rolled_up_too(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(*[timed(begin + number, "1.7e308") for number in range(5)])
        await until(lambda: marks(database) == 1)
    await roll(database)
    [(_, _, _, readings, _, low, _, _)] = hours(database)
    assert (readings, low) == (5, 1.7e308)


async def test_an_hour_that_cannot_be_rolled_up_holds_up_no_other(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(*[timed(begin, 1, f"d-{number}") for number in range(5)])
        await until(lambda: marks(database) == 5)
    arrange(
        database,
        "INSERT INTO telemetry SELECT tenant_id, device_id, kind, ts, 1, received_at, false, false, NULL, NULL, NULL,"
        " NULL, '{\"t\": 1e400}' FROM telemetry WHERE device_id = 'd-3'",
    )
    await roll(database)
    assert [row[0] for row in hours(database)] == ["d-0", "d-1", "d-2", "d-4"]
    assert marks(database) == 0


async def test_an_hour_whose_readings_are_gone_with_their_age_stays(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(timed(begin, 10))
        await until(lambda: marks(database) == 1)
    await roll(database)
    arrange(
        database,
        "DELETE FROM telemetry",
        f"INSERT INTO telemetry_marks (marked_at, tenant_id, device_id, hour)"
        f" VALUES (now(), '{TENANT}', 'd-1', to_timestamp({begin}))",
    )
    await roll(database)
    assert hours(database) == [("d-1", "t", begin, 1, 10, 10, 10, 10)]


async def test_hours_past_their_age_are_dropped(database: Database) -> None:
    arrange(
        database,
        f"INSERT INTO telemetry_hourly SELECT '{TENANT}', 'd', 't', date_trunc('hour', now()) - n * interval '1 day',"
        " 1, 1, 1, 1, 1 FROM generate_series(0, 20) AS n",
    )
    async with roller(database, days=10, trusted=False) as doubting:
        assert await doubting.drop_old() == 0, "nothing is dropped while the clock is in doubt"
    async with roller(database, days=10) as made:
        assert await made.drop_old() == 11
    assert len(hours(database)) == 10


async def test_roll_ups_of_a_device_deleted_with_its_readings_are_erased(database: Database) -> None:
    await furnish(database)
    begin = hour_before(3)
    async with open_ingest(database) as stack:
        await stack.send(timed(begin, 10), timed(begin, 10, "d-2"))
        await until(lambda: marks(database) == 2)
    await roll(database)
    arrange(
        database,
        "UPDATE device_registry SET status = 'DECOMMISSIONED', subscription_id = NULL, erase_history = true"
        " WHERE device_id = 'd-1'",
    )
    async with open_pool(database.conninfo(INGEST), name="erase", min_size=1, max_size=1) as pool:
        await erasure.erase_marked(pool, SystemClock())
    assert [row[0] for row in hours(database)] == ["d-2"]
    assert look(database, "SELECT DISTINCT device_id FROM telemetry_marks") == [("d-2",)]


async def test_what_is_replayed_is_rolled_up(database: Database) -> None:
    async with crowded(database, devices=5, each=3) as stack:
        await raise_limit(stack, 10)
        await roll(database)
        assert (await replayed(stack)).replayed == 15
        assert look(database, UNCOVERED) == []
        await roll(database)
    assert [(row[0], row[3]) for row in hours(database)] == [(f"d{number:03}", 3) for number in range(5)]
    assert look(database, UNCOVERED) == []


async def test_roll_ups_are_right_while_two_processes_store_and_two_roll_up(database: Database) -> None:
    """Late readings of few hours, again and again, so that hours are rolled up while readings come in."""
    await furnish(database)
    begin = hour_before(5)

    async def work(instance: str) -> None:
        async with open_ingest(database, instance=instance) as stack:
            for turn in range(25):
                await stack.send(
                    *[timed(begin + turn * 60 + hour * HOUR, turn, f"d-{hour % 3}") for hour in range(4)],
                    telemetry("d-0", b'{"t":1}'),
                )
                await trio.sleep(0.05)
            await until(lambda: look(database, UNCOVERED) == [])

    async def keep_rolling() -> None:
        async with roller(database) as made:
            while True:
                await made.roll()
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as rollers:
        rollers.start_soon(keep_rolling)
        rollers.start_soon(keep_rolling)
        async with trio.open_nursery() as plants:
            plants.start_soon(work, "one")
            plants.start_soon(work, "two")
        rollers.cancel_scope.cancel()
    await roll(database, ahead=HOUR + 61)
    assert any_marks(database) == 0
    assert look(database, UNCOVERED) == []


async def test_only_one_roller_works_at_a_time(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(timed(hour_before(3), 10))
        await until(lambda: marks(database) == 1)
    async with ingest(database) as peer, peer.transaction():
        await peer.execute("SELECT pg_advisory_xact_lock(1751741300, 1919904876)")
        async with roller(database) as made:
            assert await made.roll() == 0
    await roll(database)
    assert len(hours(database)) == 1


async def test_a_tenant_sees_its_own_roll_ups_alone(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO telemetry_hourly SELECT t, 'd', 't', date_trunc('hour', now()), 1, 1, 1, 1, 1"
        " FROM unnest(ARRAY['acme', 'rival']) AS t",
        "INSERT INTO telemetry_marks (marked_at, tenant_id, device_id, hour) SELECT now(), t, 'd', now()"
        " FROM unnest(ARRAY['acme', 'rival']) AS t",
    )
    async with customer(database, "acme") as connection:
        for table in ("telemetry_hourly", "telemetry_marks"):
            rows = await (await connection.execute(f"SELECT tenant_id FROM {table}".encode())).fetchall()
            assert rows == [("acme",)]
