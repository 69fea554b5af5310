"""Series and roll-ups in forty zones over both changes of the clock: each reading is in one step, that of its day."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from appliance import local_time
from appliance.db.trio_psycopg import Connection
from appliance.history import series
from appliance.history.series import Series, Source, TimeSpan
from appliance.local_time import DAY, HOUR
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.rollups import roll
from tests.support.tenants import ingest
from tests.support.zones import CHANGES

EVERY = 1200
"""Seconds between two readings: three in an hour, one of them in each quarter of it but one."""
WINDOWS = (("2026-03-24", "2026-04-09"), ("2026-10-20", "2026-11-05"))
"""The days with readings; in both windows most zones change their clock."""
KEPT, GONE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
"""The age of the oldest reading: all are kept, or none."""
READINGS = (
    "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
    " SELECT 'acme', 'd-1', 'telemetry', at, 1, at, false, false, '{{\"t\": 1}}'"
    f" FROM generate_series('{{}}Z'::timestamptz, '{{}}Z'::timestamptz, '{EVERY} s') AS at"
)
MARKS = (
    "INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at)"
    " SELECT DISTINCT tenant_id, device_id, date_trunc('hour', ts, 'UTC'), now() FROM telemetry"
)


def write(database: Database) -> None:
    for first, last in WINDOWS:
        arrange(database, f"SELECT telemetry_ensure_partitions('{first}', '{last}')", READINGS.format(first, last))
    arrange(database, MARKS)


def weeks() -> Iterator[tuple[str, ZoneInfo, list[float]]]:
    """A zone, and the edges of five days around a change of its clock, for every change in a window."""
    for name, change in CHANGES:
        zone = ZoneInfo(name)
        day = local_time.wall_clock(change, zone).date()
        if any(first < str(day - timedelta(days=2)) and str(day + timedelta(days=3)) < last for first, last in WINDOWS):
            yield name, zone, days_of(zone, day - timedelta(days=2), 5)


def readings_in(first: float, last: float) -> int:
    return math.ceil(last / EVERY) - math.ceil(first / EVERY)


def days_of(zone: ZoneInfo, first: date, days: int) -> list[float]:
    """The starts of so many days, and the end of the last."""
    return [local_time.start_of_day(first + timedelta(days=number), zone) for number in range(days + 1)]


async def read(
    connection: Connection[Any], zone: ZoneInfo, first: float, last: float, points: int, oldest: datetime
) -> Series:
    span = TimeSpan(datetime.fromtimestamp(first, zone), datetime.fromtimestamp(last, zone))
    return await series.read(connection, TENANT, "d-1", "t", span, points=points, zone=zone, oldest_reading=oldest)


def test_the_windows_hold_both_changes_of_most_zones() -> None:
    assert len({name for name, _, _ in weeks()}) > 20
    assert len(list(weeks())) > 35


async def test_over_every_change_of_forty_zones_a_day_has_its_readings(database: Database) -> None:
    write(database)
    await roll(database)
    async with ingest(database) as connection:
        for name, zone, days in weeks():
            found = await read(connection, zone, days[0], days[-1], 5, KEPT)
            assert (found.source, found.step) == (Source.HOURLY, DAY)
            assert [(one.at, one.until) for one in found.points] == list(pairwise(days)), name
            assert [one.readings for one in found.points] == [readings_in(*day) for day in pairwise(days)], name
            assert found.gaps() == []

            quarters = await read(connection, zone, days[0], days[-1], 20, KEPT)
            assert quarters.step == 6 * HOUR
            assert sum(one.readings for one in quarters.points) == readings_in(days[0], days[-1]), name
            assert all(one.readings == readings_in(one.at, one.until) for one in quarters.points), name


async def test_without_readings_a_day_has_the_roll_ups_whose_middle_it_has(database: Database) -> None:
    write(database)
    await roll(database)
    async with ingest(database) as connection:
        for name, zone, days in weeks():
            found = await read(connection, zone, days[0], days[-1], 5, GONE)
            assert [(one.at, one.until) for one in found.points] == list(pairwise(days)), name
            middles = [math.ceil(day / HOUR - 0.5) for day in days]
            hours = [later - earlier for earlier, later in pairwise(middles)]
            assert [one.readings for one in found.points] == [3 * number for number in hours], name
            for first, last in pairwise(days):
                (alone,) = (await read(connection, zone, first, last, 1, GONE)).points
                assert alone in found.points, "a day by itself has what it has among others"


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Kathmandu"])
async def test_short_steps_and_hours_not_rolled_up_have_each_reading_once(database: Database, zone: str) -> None:
    write(database)
    where = ZoneInfo(zone)
    async with ingest(database) as connection:
        for day in (date(2026, 4, 5), date(2026, 10, 25), date(2026, 11, 1)):
            first, last = days_of(where, day, 1)
            for points in (1, 2, 4, 12, 24, 48, 100, 2000):
                found = await read(connection, where, first, last, points, KEPT)
                assert sum(one.readings for one in found.points) == readings_in(first, last), (day, points)
                for one in found.points:
                    assert one.readings == readings_in(max(one.at, first), min(one.until, last)), (day, points)
                assert len(found.points) <= points


async def test_a_day_with_too_many_readings_in_the_hours_that_it_cuts_has_whole_hours(database: Database) -> None:
    write(database)
    await roll(database)
    kolkata = ZoneInfo("Asia/Kolkata")
    days = days_of(kolkata, date(2026, 10, 21), 10)
    async with ingest(database) as connection:
        assert {one.readings for one in (await read(connection, kolkata, days[0], days[-1], 10, KEPT)).points} == {72}
        arrange(database, "UPDATE telemetry_hourly SET readings = readings * 100000")
        found = await read(connection, kolkata, days[0], days[-1], 10, KEPT)
    assert {one.readings for one in found.points} == {7_200_000}


async def test_ends_within_an_hour_are_exact_while_the_readings_are_kept(database: Database) -> None:
    write(database)
    await roll(database)
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 30, 14, 37, tzinfo=berlin).timestamp()
    async with ingest(database) as connection:
        for days, points in ((3, 4), (9, 10), (9, 200)):
            found = await read(connection, berlin, first - days * DAY, first, points, KEPT)
            assert found.source is Source.HOURLY
            assert sum(one.readings for one in found.points) == readings_in(first - days * DAY, first)
        few = await read(connection, berlin, first, first + 900, 10, GONE)
        assert [(one.at, one.readings) for one in few.points] == [(first // HOUR * HOUR, 3)], "an hour is shown whole"
