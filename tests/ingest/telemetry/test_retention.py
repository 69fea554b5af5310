"""Days of readings are dropped by age: counted, recorded, once, and never at the price of the stream."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.backup.contents import open_snapshot
from appliance.db import roles
from appliance.db.partitions import drop_day, read_days
from appliance.db.trio_psycopg import connect
from appliance.ingest.batch import Accepted
from appliance.ingest.telemetry.expiry import Wait
from appliance.ingest.telemetry.kept_since import KeptSince
from tests.support.accounting import look as balance
from tests.support.pipeline import furnish, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.retention import days, make_days, queue_hour, retention, span, store
from tests.support.rollups import roll
from tests.support.tenants import ingest

NOW = datetime(2025, 11, 23, 12, tzinfo=UTC)
TODAY = NOW.date()
OLD = TODAY - timedelta(days=10)
A_DAY = timedelta(days=1)


async def drop(
    database: Database,
    day: date,
    *,
    cutoff: datetime = NOW - A_DAY,
    now: datetime = NOW,
    cause: str = "age",
    without_rollups: bool = False,
) -> int | None:
    async with ingest(database) as connection:
        terms: dict[str, Any] = {"cause": cause, "without_rollups": without_rollups}
        return await drop_day(connection, day, cutoff=cutoff, now=now, instance="one", actor="retention", **terms)


def audited(database: Database) -> list[tuple[Any, ...]]:
    return look(
        database,
        "SELECT object_id, tenant_id, actor, actor_kind, at, before ->> 'readings', after ->> 'cause' FROM audit_log"
        " WHERE action = 'telemetry.drop' ORDER BY id",
    )


def dropped(database: Database) -> dict[str, int]:
    rows = look(database, "SELECT tenant_id, sum(partition_dropped)::int FROM ingest_ledger GROUP BY 1 ORDER BY 1")
    return {tenant: count for tenant, count in rows if count}


async def test_with_one_day_of_retention_33_days_do_not_stay(database: Database) -> None:
    await make_days(database, TODAY - timedelta(days=30), TODAY + timedelta(days=2))
    pending = TODAY - timedelta(days=7)
    for day in span(TODAY - timedelta(days=30), 31):
        store(database, day, 2)
        queue_hour(database, day, 12)
    await roll(database)
    queue_hour(database, pending, 23)
    async with retention(database, NOW, keep_days=1) as keeper:
        assert await keeper.round() == 28
        left = span(TODAY - A_DAY, 4)  # yesterday may still be accepted
        assert days(database) == [pending, *left]
        await roll(database)
        assert await keeper.round() == 1
    assert days(database) == left
    assert dropped(database) == {"acme": 2 * 29}
    assert len(audited(database)) == 29
    assert look(database, "SELECT count(*) FROM telemetry_hourly") == [(31,)], "roll-ups stay"
    balance(database.conninfo())


async def test_a_day_goes_with_its_count_by_tenant_and_its_audit_row(database: Database) -> None:
    await make_days(database, OLD, OLD)
    store(database, OLD, 5)
    store(database, OLD, 3, tenant="rival")
    assert await drop(database, OLD) == 8
    assert dropped(database) == {"acme": 5, "rival": 3}
    assert audited(database) == [(OLD.isoformat(), None, "retention", "appliance", NOW, "8", "age")]
    assert look(database, "SELECT DISTINCT minute FROM ingest_ledger WHERE partition_dropped > 0") == [(NOW,)]
    assert look(database, "SELECT count(*) FROM pg_class WHERE relname ~ '^telemetry_2025'") == [(0,)]
    balance(database.conninfo())


async def test_the_ledger_is_added_to(database: Database) -> None:
    await make_days(database, OLD, OLD + A_DAY)
    for day in (OLD, OLD + A_DAY):
        store(database, day, 4)
        await drop(database, day)
    assert look(database, "SELECT partition_dropped FROM ingest_ledger WHERE partition_dropped > 0") == [(8,)]


@pytest.mark.parametrize(
    ("day", "cutoff", "now"),
    [
        (OLD, NOW - timedelta(days=10), NOW),  # its last hours are not older
        (TODAY - A_DAY, NOW, NOW),  # nothing of the last day goes, whatever is asked for
        (TODAY, NOW + timedelta(days=3650), NOW),
        (TODAY + A_DAY, NOW - A_DAY, NOW),
        (date(2036, 1, 1), NOW - A_DAY, NOW),  # so far ahead a day goes only if it is empty
    ],
)
async def test_the_database_checks_again_that_a_day_is_old_enough(
    database: Database, day: date, cutoff: datetime, now: datetime
) -> None:
    await make_days(database, day, day)
    store(database, day)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        await drop(database, day, cutoff=cutoff, now=now)
    assert days(database) == [day]
    assert audited(database) == []


async def test_an_hour_queued_after_the_decision_keeps_its_day(database: Database) -> None:
    await make_days(database, OLD, OLD)
    store(database, OLD)
    queue_hour(database, OLD, 23)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        await drop(database, OLD)
    queue_hour(database, OLD + A_DAY, 0)
    await roll(database)
    queue_hour(database, OLD + A_DAY, 0)
    assert await drop(database, OLD) == 1, "the next day's hours do not matter"


async def test_a_clock_in_doubt_drops_nothing(database: Database) -> None:
    await make_days(database, OLD, OLD)
    store(database, OLD)
    async with retention(database, NOW + timedelta(days=3650), keep_days=1, trusted=False) as keeper:
        assert await keeper.round() == 0
    assert days(database) == [OLD]


async def test_an_empty_day_that_a_wrong_clock_made_goes(database: Database) -> None:
    empty, full = date(2036, 11, 20), date(2036, 11, 21)
    await make_days(database, empty, full)
    store(database, full)
    async with retention(database, NOW, keep_days=30) as keeper:
        assert await keeper.round() == 1
    assert days(database) == [full]
    assert audited(database)[0][-1] == "ahead"


async def test_a_partition_made_by_hand_is_left_alone(database: Database) -> None:
    await make_days(database, OLD, OLD)
    async with await connect(database.conninfo()) as superuser:
        await superuser.execute("ALTER TABLE telemetry DETACH PARTITION telemetry_20251113")
        await superuser.execute(
            "ALTER TABLE telemetry ATTACH PARTITION telemetry_20251113"
            " FOR VALUES FROM ('2025-11-13 00:00Z') TO ('2025-11-15 00:00Z')"
        )
    assert await drop(database, OLD) is None
    assert days(database) == [OLD]


STATEMENTS = {
    "reads": "SELECT count(*) FROM telemetry",
    "writes": (
        "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        " VALUES ('acme', 'x', 'telemetry', '2025-11-13 05:00Z', 1, '2025-11-13 05:00Z', false, false, '{}')"
    ),
}


@pytest.mark.parametrize("what", STATEMENTS)
async def test_an_idle_transaction_keeps_the_day_and_the_stream_goes_on(database: Database, what: str) -> None:
    await furnish(database)
    await make_days(database, OLD, OLD)
    store(database, OLD)
    async with open_ingest(database) as stack, ingest(database) as idle:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        async with retention(database, NOW, keep_days=1) as keeper, idle.transaction():
            await idle.execute(STATEMENTS[what].encode())
            sent: list[Any] = []

            async def send_on() -> None:
                sent.extend(await stack.send(telemetry("d-1", b'{"t":2}')))

            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keeper.round)
                    nursery.start_soon(send_on)
            assert keeper.blocked is Wait.LOCK
            assert OLD in days(database)
            assert sent == [Accepted.STORED]
        async with retention(database, NOW, keep_days=1) as keeper:
            assert await keeper.round() == 1


async def test_while_a_backup_reads_no_day_is_dropped_and_nothing_else_waits(database: Database) -> None:
    await furnish(database)
    await make_days(database, OLD, OLD)
    store(database, OLD)
    ahead = NOW.date() + timedelta(days=3)
    async with open_ingest(database) as stack, retention(database, NOW, keep_days=1) as keeper:
        async with open_snapshot(database.endpoint):
            assert await keeper.round() == 0
            assert keeper.blocked is Wait.BACKUP, "asked before a lock was waited for"
            assert await stack.send(telemetry("d-1", b'{"t":1}')) == [Accepted.STORED]
            await make_days(database, ahead, ahead)
            assert {OLD, ahead} <= set(days(database))
        with trio.fail_after(30):
            while await keeper.round() == 0:  # until Postgres has seen that the session of the backup is over
                await trio.sleep(0.05)
        assert OLD not in days(database)
        assert keeper.blocked is None


async def test_the_lock_is_waited_for_200_ms_and_no_longer(database: Database) -> None:
    async with await connect(database.conninfo()) as superuser:
        cursor = await superuser.execute("SELECT proconfig FROM pg_proc WHERE proname = 'telemetry_drop_day'")
        row = await cursor.fetchone()
    assert row is not None
    assert "lock_timeout=200ms" in row[0]


async def test_of_two_processes_one_drops_and_the_other_finds_nothing(database: Database) -> None:
    await make_days(database, OLD, OLD + timedelta(days=3))
    for day in span(OLD, 4):
        store(database, day, 10)
    gone: list[int] = []

    async def work(instance: str) -> None:
        async with retention(database, NOW, keep_days=1, instance=instance) as keeper:
            while OLD + timedelta(days=3) in days(database):
                gone.append(await keeper.round())

    async with trio.open_nursery() as nursery:
        for instance in ("one", "two", "three"):
            nursery.start_soon(work, instance)
    assert sum(gone) == 4
    assert dropped(database) == {"acme": 40}
    assert [row[0] for row in audited(database)] == [day.isoformat() for day in span(OLD, 4)]
    balance(database.conninfo())


async def test_what_another_session_drops_is_not_waited_for(database: Database) -> None:
    await make_days(database, OLD, OLD + A_DAY)
    async with ingest(database) as first:
        async with first.transaction():
            gone = await drop_day(
                first,
                OLD,
                cutoff=NOW - A_DAY,
                now=NOW,
                instance="two",
                actor="retention",
                cause="age",
                without_rollups=False,
            )
            assert gone == 0
            assert await drop(database, OLD + A_DAY) is None
        assert await drop(database, OLD) is None, "it is gone"


async def test_only_ingest_may_drop(database: Database) -> None:
    await make_days(database, OLD, OLD)
    for role in (roles.WEB, roles.BACKUP):
        async with await connect(database.conninfo(role)) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await drop_day(
                    connection,
                    OLD,
                    cutoff=NOW - A_DAY,
                    now=NOW,
                    instance="one",
                    actor="x",
                    cause="age",
                    without_rollups=False,
                )
    async with ingest(database) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("DROP TABLE telemetry_20251113")
    assert days(database) == [OLD]


async def test_a_reading_of_a_dropped_day_is_stored_and_its_roll_up_stays_whole(database: Database) -> None:
    """A replay tests the retention against the time of receipt, so it may store a reading of a day that is gone."""
    now = datetime.now(UTC)
    day = now.date() - timedelta(days=3)
    await furnish(database)
    async with open_ingest(database, kept_since=KeptSince(5)) as stack:
        noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
        await stack.send(*(telemetry("d-1", b'{"ts":%d,"t":10}' % (noon + n)) for n in range(3)))
        await _queued(database)
        await roll(database)
        async with retention(database, now, keep_days=1) as keeper:
            await keeper.round()
            assert day not in days(database)
            await stack.send(telemetry("d-1", b'{"ts":%d,"t":99}' % (noon + 5)))
            await _queued(database)
            await keeper.round()
            assert day in days(database), "its hour is not rolled up yet"
            await roll(database)
            await keeper.round()
        assert day not in days(database)
    assert look(database, "SELECT readings, high FROM telemetry_hourly WHERE metric = 't'") == [(3, 10)]
    balance(database.conninfo())


async def _queued(database: Database) -> None:
    """Return once an hour that is over is queued."""
    with trio.fail_after(30):
        while look(database, "SELECT count(*) FROM telemetry_marks WHERE hour < now() - interval '1 day'") == [(0,)]:
            await trio.sleep(0.01)


async def test_sizes_and_pending_hours_are_read_of_each_day(database: Database) -> None:
    await make_days(database, OLD, OLD + A_DAY)
    store(database, OLD, 1000)
    queue_hour(database, OLD + A_DAY, 0)
    queue_hour(database, OLD + A_DAY, 23)
    async with ingest(database) as connection:
        await connection.execute("SET timezone = 'Pacific/Kiritimati'")
        first, second = await read_days(connection)
    assert (first.day, first.empty, first.pending_hours) == (OLD, False, 0)
    assert first.bytes > 100_000
    assert (second.day, second.empty, second.pending_hours) == (OLD + A_DAY, True, 2)
