"""Series: the same from readings and from roll-ups, with gaps left open."""

import math
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.errors import Invalid
from appliance.history import series
from appliance.history.series import MANY_READINGS, Gap, Point, Series, Source, TimeSpan
from tests.support import soak
from tests.support.busy import within
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.rollups import roll
from tests.support.tenants import customer, ingest

START = datetime(2026, 11, 20, tzinfo=UTC)
LONG_AGO = START - timedelta(days=30)
EPOCH = START.timestamp()
WRITE = (
    "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
    " SELECT 'acme', 'd-1', 'telemetry', '{start}'::timestamptz + n * interval '{every} s', n, now(), false, false,"
    " jsonb_build_object('t', {value}, 'note', 'x') FROM generate_series(0, {last}) AS n"
)


def write(database: Database, *, every: int, last: int, value: str = "n", start: datetime = START) -> None:
    arrange(
        database,
        "SELECT telemetry_ensure_partitions('2026-10-20', '2026-11-30')",
        WRITE.format(start=start.isoformat(), every=every, last=last, value=value),
    )


def mark_all(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO telemetry_marks (marked_at, tenant_id, device_id, hour)"
        " SELECT DISTINCT now(), tenant_id, device_id, date_trunc('hour', ts, 'UTC') FROM telemetry",
    )


async def test_where_readings_are_gone_that_should_be_there_the_roll_ups_speak(database: Database) -> None:
    """The retention was shorter once: the days are within it, and empty."""
    write(database, every=600, last=6 * 24 * 2 - 1)
    mark_all(database)
    await roll(database)
    whole = await read(database, 48, 500)
    assert (whole.source, sum(point.readings for point in whole.points)) == (Source.READINGS, 288)
    arrange(database, "DROP TABLE telemetry_20261120", "SELECT telemetry_ensure_partitions('2026-11-20', '2026-11-20')")
    left = await read(database, 48, 500)
    assert (left.source, sum(point.readings for point in left.points)) == (Source.HOURLY, 288)
    of_the_rest = await read(database, 20.5, 500, first=START + timedelta(hours=24.25))
    assert of_the_rest.source is Source.READINGS


async def read(
    database: Database,
    hours: float,
    points: int,
    *,
    metric: str = "t",
    oldest: datetime = LONG_AGO,
    first: datetime = START,
    tenant: str = TENANT,
) -> Series:
    async with ingest(database) as connection:
        span = TimeSpan(first, first + timedelta(hours=hours))
        return await series.read(
            connection, tenant, "d-1", metric, span, points=points, zone=first.tzinfo, oldest_reading=oldest
        )


async def test_a_short_span_is_read_from_the_readings(database: Database) -> None:
    write(database, every=10, last=359)
    found = await read(database, 1, 60)
    assert (found.source, found.step, len(found.points)) == (Source.READINGS, 60, 60)
    assert found.points[1] == Point(EPOCH + 60, EPOCH + 120, 6, 8.5, 6, 11)


async def test_a_long_span_is_read_from_roll_ups_and_marked_hours_from_readings(database: Database) -> None:
    write(database, every=600, last=6 * 48 - 1)
    mark_all(database)
    before = await read(database, 48, 12)
    await roll(database)
    after = await read(database, 48, 12)
    assert before.points == after.points
    assert (after.source, after.step, len(after.points)) == (Source.HOURLY, 6 * 3600, 8)
    assert after.points[0] == Point(EPOCH, EPOCH + 6 * 3600, 36, 17.5, 0, 35)


async def test_what_is_stored_later_shows_at_once_and_once(database: Database) -> None:
    write(database, every=600, last=6 * 48 - 1)
    mark_all(database)
    await roll(database)
    write(database, every=3600, last=0, value="1000", start=START + timedelta(seconds=1))
    mark_all(database)
    shown = await read(database, 48, 12)
    assert (shown.points[0].readings, shown.points[0].high) == (37, 1000)
    assert sum(point.readings for point in shown.points) == 6 * 48 + 1


async def test_readings_that_are_gone_are_read_from_roll_ups_however_short_the_span(database: Database) -> None:
    write(database, every=600, last=11)
    mark_all(database)
    await roll(database)
    arrange(database, "DELETE FROM telemetry")
    found = await read(database, 2, 500, oldest=START + timedelta(days=1))
    assert (found.source, found.step, [point.readings for point in found.points]) == (Source.HOURLY, 3600, [6, 6])


async def test_too_many_readings_to_look_at_are_read_from_roll_ups(database: Database) -> None:
    write(database, every=3600, last=23)
    mark_all(database)
    await roll(database)
    assert (await read(database, 24, 500)).source is Source.READINGS
    arrange(database, f"UPDATE telemetry_hourly SET readings = {MANY_READINGS}")
    assert (await read(database, 24, 500)).source is Source.HOURLY


async def test_days_begin_when_the_viewers_do(database: Database) -> None:
    write(database, every=3600, last=24 * 10)
    mark_all(database)
    await roll(database)
    zone = timezone(timedelta(hours=5, minutes=30))
    found = await read(database, 24 * 9, 10, first=START.astimezone(zone).replace(hour=0, minute=0) + timedelta(days=1))
    assert found.step == 86_400
    assert {datetime.fromtimestamp(point.at, zone).time().isoformat() for point in found.points} == {"00:00:00"}


async def test_a_metric_a_device_or_a_tenant_that_is_not_there_has_no_points(database: Database) -> None:
    write(database, every=600, last=11)
    assert (await read(database, 2, 10, metric="nothing")).points == []
    assert (await read(database, 2, 10, metric="note")).points == []
    assert (await read(database, 2, 10, tenant="rival")).points == []
    assert (await read(database, 2, 10, metric="nothing")).summary() is None


async def test_walls_stand_before_readings_and_roll_ups(database: Database) -> None:
    write(database, every=600, last=11)
    mark_all(database)
    span = TimeSpan(START, START + timedelta(hours=2))
    for tenant, expected in (("acme", 2), ("rival", 0)):
        async with customer(database, tenant) as connection:
            found = await series.read(connection, "acme", "d-1", "t", span, points=2, zone=UTC, oldest_reading=LONG_AGO)
            assert len(found.points) == expected


@pytest.mark.parametrize(
    ("hours", "points", "field"), [(0, 10, "from"), (-1, 10, "from"), (24 * 36_501, 10, "from"), (1, 0, "points")]
)
async def test_a_span_that_cannot_be_drawn_is_refused_by_its_field(
    database: Database, hours: float, points: int, field: str
) -> None:
    with pytest.raises(Invalid) as raised:
        await read(database, hours, points)
    assert raised.value.field == field


@given(st.integers(1, 3 * 10**12), st.integers(0, 10**9), st.integers(2, 2000))
@example(5_180_400_001, 0, 2)
def test_a_series_never_has_more_points_than_were_asked_for(millis: int, offset: int, points: int) -> None:
    first = START.astimezone(ZoneInfo("Europe/Oslo")) - timedelta(milliseconds=offset)
    span = TimeSpan(first, (first.astimezone(UTC) + timedelta(milliseconds=millis)).astimezone(first.tzinfo))
    step, edges = series._steps(span, points, ZoneInfo("Europe/Oslo"), series.STEPS)
    assert math.ceil(millis / 1000 / (step + 3600)) <= len(edges) - 1 <= points
    assert edges[0] <= span.first.timestamp() < edges[1]
    assert edges[-2] < span.last.timestamp() <= edges[-1]


readings = st.lists(
    st.tuples(st.integers(0, 6 * 3600 - 1), st.floats(-1e6, 1e6, allow_nan=False)),
    max_size=40,
    unique_by=lambda r: r[0],
)


@settings(max_examples=soak.times(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=readings, later=readings)
async def test_roll_ups_say_what_the_readings_say(
    database: Database, first: list[tuple[int, float]], later: list[tuple[int, float]]
) -> None:
    arrange(
        database,
        "SELECT telemetry_ensure_partitions('2026-11-20', '2026-11-20')",
        "TRUNCATE telemetry, telemetry_hourly, telemetry_marks",
    )
    for part, digest in ((first, 1), (later, 2)):
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            for offset, value in part:
                connection.execute(
                    "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late,"
                    " metrics) VALUES ('acme', 'd-1', 'telemetry', %s, %s, now(), false, false,"
                    " jsonb_build_object('t', %s::float8))",
                    [START + timedelta(seconds=offset), digest, value],
                )
        mark_all(database)
        await roll(database)
        raw = await read(database, 6, 6)
        assert raw.step == 3600
        assert raw.source is Source.HOURLY
        by_hour: dict[int, list[float]] = {}
        for offset, value in first if digest == 1 else [*first, *later]:
            by_hour.setdefault(offset // 3600, []).append(value)
        assert [(point.at - EPOCH, point.readings, point.low, point.high) for point in raw.points] == [
            (hour * 3600, len(values), min(values), max(values)) for hour, values in sorted(by_hour.items())
        ]
        for point in raw.points:
            values = by_hour[int(point.at - EPOCH) // 3600]
            assert point.mean == pytest.approx(sum(values) / len(values), abs=1e-6)


def made(step: int, *at: int, readings: int = 1) -> Series:
    points = [Point(float(second), float(second + step), readings, 1, 1, 1) for second in at]
    return Series(TimeSpan(START, START + timedelta(hours=1)), step, Source.READINGS, points)


def test_a_step_without_readings_is_a_gap_where_steps_usually_have_many() -> None:
    assert made(60, 0, 60, 180, 240, readings=6).gaps() == [Gap(120, 180)]


def test_readings_rarer_than_steps_belong_together() -> None:
    assert made(10, *range(0, 6000, 600)).gaps() == []
    assert made(10, 0, 600, 1200, 3600, 4200, 4800).gaps() == [Gap(1210, 3600)]


def test_one_missing_reading_of_many_is_no_gap_where_a_step_has_one() -> None:
    assert made(60, 0, 60, 180, 240, 300).gaps() == []


async def test_a_year_of_one_metric_takes_less_than_a_tenth_of_a_second(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO telemetry_hourly"
        " SELECT 'acme', 'd-' || d, m, '2026-01-01'::timestamptz + h * interval '1 hour', 360, 360 * h, h, h, h"
        " FROM generate_series(0, 8759) AS h, generate_series(1, 3) AS d, unnest(ARRAY['t', 'u']) AS m",
        "VACUUM ANALYZE telemetry_hourly",
    )
    async with await connect(database.conninfo(INGEST)) as connection:
        taken = []
        for _ in range(5):
            span = TimeSpan(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
            started = time.perf_counter()
            found = await series.read(
                connection, TENANT, "d-1", "t", span, points=500, zone=ZoneInfo("Europe/Oslo"), oldest_reading=LONG_AGO
            )
            taken.append(time.perf_counter() - started)
            assert len(found.points) == 366
        assert min(taken) < within(0.1)
