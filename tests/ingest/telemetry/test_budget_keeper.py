"""The oldest day goes when too much is taken: closed, rolled up, dropped, one at a time, and nothing else ever."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from appliance.db.trio_psycopg import connect
from appliance.ingest.telemetry.budget import LASTING_SECONDS, BudgetTerms
from appliance.ingest.telemetry.budget_keeper import (
    BLOCKED_SECONDS,
    CHECKPOINT_SECONDS,
    MEASURE_SECONDS,
    PATIENCE,
    PATIENCE_WHEN_FULL,
    SETTLE_SECONDS,
)
from appliance.ingest.telemetry.expiry import Wait
from tests.support.accounting import look as balance
from tests.support.budget import MOST, budgeted
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.retention import days, make_days, queue_hour, span, store
from tests.support.tenants import ingest

NOW = datetime(2025, 11, 23, 12, tzinfo=UTC)
TODAY = NOW.date()
FIRST = TODAY - timedelta(days=4)
A_DAY = timedelta(days=1)
DAY_BYTES = 200_000
"""Less than a day of READINGS takes, and more than half of it."""
READINGS = 1000


SIZES = """
SELECT pg_total_relation_size(c.oid) FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE i.inhparent = 'telemetry'::regclass AND pg_relation_size(c.oid) > 0
"""


async def fill(database: Database, first: date = FIRST, last: date = TODAY) -> None:
    """Store as many readings in each of these days; those ahead have none."""
    await make_days(database, first, last + 2 * A_DAY)
    for day in span(first, (last - first).days + 1):
        store(database, day, READINGS)


def audited(database: Database) -> list[tuple[str, str, int, int | None]]:
    return look(
        database,
        "SELECT object_id, after ->> 'cause', (before ->> 'readings')::int, (after ->> 'hours_not_rolled_up')::int"
        " FROM audit_log WHERE action = 'telemetry.drop' ORDER BY id",
    )


async def test_one_day_at_a_time_goes_until_there_is_room(database: Database) -> None:
    await fill(database)
    size = look(database, f"SELECT pg_total_relation_size('telemetry_{FIRST:%Y%m%d}')")[0][0]
    async with budgeted(database, NOW, others=MOST - 5 * size + size + size // 2) as one:
        await one.settle()
        assert one.keeper.state.over == 0
        assert one.checkpoints == 2, "one before each day that goes"
    assert days(database) == span(FIRST + 2 * A_DAY, 5)
    assert audited(database) == [((FIRST + n * A_DAY).isoformat(), "max_bytes", READINGS, None) for n in (0, 1)]
    balance(database.conninfo())


async def test_within_its_limit_nothing_goes_and_a_checkpoint_may_be_enough(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=MOST // 2) as one:
        await one.step()
        assert (one.keeper.state.over, one.checkpoints, one.kept_since.day) == (0, 0, None)
        await one.step(MEASURE_SECONDS / 2)
        assert one.measured == 1, "the folder is not walked at each look"
        one.others = MOST
        await one.step()
        one.others = MOST // 2  # what the checkpoint has given back
        await one.step()
        assert (one.keeper.state.over, one.checkpoints, one.kept_since.day) == (0, 1, None)
    assert days(database) == span(FIRST, 7)


async def test_the_present_day_stays_whatever_is_taken(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=10 * MOST) as one:
        await one.settle()
        state = one.keeper.state
        assert (state.exhausted, state.day, state.over > 0) == (True, None, True)
        checkpoints = one.checkpoints
        await one.step(CHECKPOINT_SECONDS / 2)
        assert one.checkpoints == checkpoints, "none that would bring nothing"
        one.others = 0
        await one.step()
        assert not one.keeper.state.exhausted
    assert days(database) == span(TODAY, 3)


async def test_in_the_first_hour_of_a_day_the_day_before_stays(database: Database) -> None:
    await fill(database, TODAY - A_DAY, TODAY)
    early = datetime(TODAY.year, TODAY.month, TODAY.day, 0, 59, tzinfo=UTC)
    async with budgeted(database, early, others=10 * MOST) as one:
        for _ in range(3):
            await one.step()
        state = one.keeper.state
        assert (state.over > 0, state.day, state.exhausted) == (True, None, False), "it goes soon, which is no alert"
        assert days(database) == span(TODAY - A_DAY, 4)
        one.clock.at = early + timedelta(minutes=1)
        await one.settle()
    assert days(database) == span(TODAY, 3)


async def test_in_doubt_of_the_clock_no_day_goes(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW + timedelta(days=3650), others=10 * MOST, trusted=False) as one:
        for _ in range(4):
            assert await one.step() in {None, Wait.CLOCK}
        assert (one.keeper.state.wait, one.kept_since.day) == (Wait.CLOCK, None)
        assert days(database) == span(FIRST, 7)
        one.clock.at, one.clock.trusted = NOW, True
        await one.settle()
    assert days(database) == span(TODAY, 3)


async def test_a_day_is_closed_before_it_goes_and_opened_again_if_it_stays(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES) as one:
        await one.step()  # the checkpoint
        assert await one.step() is Wait.TURN
        assert one.kept_since.day == FIRST + A_DAY
        await one.step(SETTLE_SECONDS / 2)
        assert days(database)[0] == FIRST, "what was accepted before is not stored yet"
        one.others = 0
        await one.step()
        assert one.kept_since.ts == 0
        assert days(database)[0] == FIRST
        size = await one.size_of_a_day()
        one.others = MOST - 5 * size + size // 2
        await one.settle()
        assert (days(database)[0], one.kept_since.day) == (FIRST + A_DAY, FIRST + A_DAY)
        one.others = 2 * MOST
        await one.step()  # the checkpoint
        await one.step(0)
        assert one.kept_since.day == FIRST + 2 * A_DAY
        one.others = 0
        await one.step(0)
        assert one.kept_since.day == FIRST + A_DAY, "the next day is open again, the one that has gone is not"
        one.others = 2 * MOST
        await one.settle()
        assert one.kept_since.day == TODAY
        one.others = 0
        await one.step()
        assert one.kept_since.day == TODAY, "what has gone stays closed"


async def test_its_hours_are_rolled_up_first(database: Database) -> None:
    await fill(database)
    for hour in (3, 12):
        queue_hour(database, FIRST, hour)
    queue_hour(database, FIRST + A_DAY, 12)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES) as one:
        while days(database)[0] == FIRST:
            await one.step()
    assert audited(database)[0] == (FIRST.isoformat(), "max_bytes", READINGS, None)
    assert look(database, "SELECT DISTINCT hour::date FROM telemetry_hourly") == [(FIRST,)], "only the day that goes"
    assert look(database, "SELECT count(*) FROM telemetry_marks") == [(1,)]
    assert look(database, "SELECT readings FROM telemetry_hourly") == [(334,)], "each third reading is of that device"


@pytest.mark.parametrize(("full", "patience"), [(False, PATIENCE), (True, PATIENCE_WHEN_FULL)])
async def test_roll_ups_that_cannot_be_made_are_waited_for_so_long_and_then_told(
    database: Database, full: bool, patience: float
) -> None:
    await fill(database)
    for hour in (3, 3, 12):
        queue_hour(database, FIRST, hour)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES, rolls_up=False, full=full) as one:
        await one.step()
        await one.step()
        assert await one.step(patience / 2) is Wait.ROLLUPS
        assert await one.step(patience / 2 - 1) is Wait.ROLLUPS
        assert days(database)[0] == FIRST
        await one.step(2)
    assert audited(database) == [(FIRST.isoformat(), "max_bytes", READINGS, 2)]
    balance(database.conninfo())


async def test_without_room_for_roll_ups_a_day_goes_without(database: Database) -> None:
    await fill(database)
    queue_hour(database, FIRST, 3)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES) as one:
        one.rolls_up = psycopg.errors.DiskFull()
        for _ in range(3):
            await one.step()
    assert audited(database) == [(FIRST.isoformat(), "max_bytes", READINGS, 1)]


async def test_a_session_that_reads_for_long_puts_it_off(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES) as one, ingest(database) as dump:
        async with dump.transaction():
            await dump.execute("SELECT count(*) FROM telemetry")
            for _ in range(2):
                await one.step()
            assert await one.step() is Wait.LOCK
            assert await one.keeper.round() == BLOCKED_SECONDS, "each try may hold up the stream"
            assert days(database)[0] == FIRST
        assert await one.step() is None
    assert days(database)[0] == FIRST + A_DAY


async def test_no_day_goes_for_what_a_restore_replaced(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=2 * MOST, aside=MOST + DAY_BYTES) as one:
        one.aside += sum(row[0] for row in look(database, SIZES))  # as much as all is over by
        for _ in range(4):
            await one.step()
        state = one.keeper.state
        assert (state.over > 0, state.due, state.wait, state.exhausted) == (True, 0, Wait.ASIDE, True)
        assert one.kept_since.day is None
        assert days(database) == span(FIRST, 7)
        one.aside -= 2 * DAY_BYTES  # and now a day more than that
        for _ in range(4):
            await one.step()
        assert days(database) == span(FIRST + A_DAY, 6)


async def test_a_day_that_is_about_to_go_stays_open_where_a_restore_takes_the_room(database: Database) -> None:
    await fill(database)
    async with budgeted(database, NOW, others=MOST - DAY_BYTES) as one:
        await one.step()
        assert await one.step(0) is Wait.TURN
        assert one.kept_since.day == FIRST + A_DAY
        one.others, one.aside = 2 * MOST, 2 * MOST
        assert await one.step(SETTLE_SECONDS) is Wait.ASIDE
        assert one.kept_since.ts == 0
    assert days(database) == span(FIRST, 7)


@pytest.mark.parametrize(("most", "measured"), [(0, (0, 0, 1)), (2 * MOST, (1, 1, 2))])
async def test_the_folder_is_measured_at_once_when_the_disk_is_short(
    database: Database, most: int, measured: tuple[int, int, int]
) -> None:
    terms = BudgetTerms(most, by_disk=True)
    async with budgeted(database, NOW, others=MOST, terms=terms, total=MOST, free=100, spare=100) as one:
        counted = []
        for free in (100, 100, 99):
            one.free = free
            await one.step(1)
            counted.append(one.measured)
    assert tuple(counted) == measured


async def test_for_the_disk_a_day_goes_once_it_is_short_for_long(database: Database) -> None:
    await fill(database)
    terms = BudgetTerms(0, by_disk=True)
    async with budgeted(database, NOW, others=MOST, terms=terms, total=MOST, free=90, spare=100) as one:
        for again in (True, False):
            await one.step(CHECKPOINT_SECONDS)
            assert await one.step(0) is Wait.PASSING
            await one.step(LASTING_SECONDS - 1)  # and another checkpoint
            assert await one.step(0) is Wait.PASSING
            one.free = 100 if again else 90  # a backup was written there, and is gone
            await one.step(0)
            one.free = 90
        assert one.kept_since.ts == 0
        assert days(database)[0] == FIRST
        assert await one.step(1) is Wait.TURN
        await one.step()
    assert days(database)[0] == FIRST + A_DAY
    assert audited(database) == [(FIRST.isoformat(), "disk", READINGS, None)]


async def test_for_the_disk_a_day_goes_at_once_where_little_is_free(database: Database) -> None:
    await fill(database)
    terms = BudgetTerms(0, by_disk=True)
    async with budgeted(database, NOW, others=MOST, terms=terms, total=MOST, free=74, spare=100) as one:
        await one.step()  # the checkpoint
        assert await one.step(1) is Wait.TURN
        one.free = 80  # it is closed already, and goes
        await one.step()
    assert days(database)[0] == FIRST + A_DAY


@pytest.mark.parametrize(
    ("day", "cause", "without_rollups"),
    [
        (TODAY, "max_bytes", False),
        (TODAY + A_DAY, "disk", False),
        (TODAY + 60 * A_DAY, "max_bytes", False),
        (FIRST, "budget", False),
        (TODAY - A_DAY, "age", False),
        (FIRST, "age", True),
    ],
)
async def test_the_database_checks_again_what_may_go(
    database: Database, day: date, cause: str, without_rollups: bool
) -> None:
    await make_days(database, day, day)  # an empty one would be made anew within the hour
    async with await connect(database.conninfo()) as connection:
        for cutoff in (NOW - A_DAY, NOW - timedelta(hours=1), NOW + 3650 * A_DAY):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                await connection.execute(
                    "SELECT telemetry_drop_day(%s, %s, %s, 'one', 'retention', %s, %s)",
                    (day, cutoff, NOW, cause, without_rollups),
                )
            await connection.rollback()
    assert days(database) == [day]
