"""The writer while Postgres fails, dies or lies: nothing is lost, doubled or taken for poison (P1 to P5)."""

import time
from collections.abc import Callable

import psycopg
import pytest

from appliance.db.roles import INGEST, OWNER
from appliance.errors import ApplianceError
from appliance.reading import Reason
from tests.support.clock import DoubtfulClock
from tests.support.commit_thief import Theft, commit_thief
from tests.support.pipeline import (
    DUPLICATE,
    PATIENCE_SECONDS,
    STORED,
    TENANT,
    arrange,
    fail_times,
    furnish,
    ledger_sums,
    look,
    open_ingest,
    reasons,
    telemetry,
    timed,
    until,
)
from tests.support.postgres_server import TEMPLATE, Database, PostgresServer, create_database, make_template


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57014", "55P03", "25006", "53100", "22023"])
async def test_a_passing_failure_is_tried_again_and_nothing_is_doubled(database: Database, sqlstate: str) -> None:
    await furnish(database)
    fail_times(database, 2, sqlstate)
    async with open_ingest(database) as stack:
        verdicts = await stack.send(timed(1), telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))
    assert verdicts[:2] == [STORED, STORED]
    assert ledger_sums(database)["received"] == 3
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(1,)]


async def test_a_database_short_of_room_gets_smaller_batches(database: Database) -> None:
    """Until they are small enough: here, two refused messages, or one reading."""
    await furnish(database)
    arrange(
        database,
        "CREATE FUNCTION small() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT count(*) FROM fresh) > 2"
        " THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53200'; END IF; RETURN NULL; END $$",
        "GRANT EXECUTE ON FUNCTION small() TO PUBLIC",
        "CREATE TRIGGER small AFTER INSERT ON quarantine_events REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT"
        " EXECUTE FUNCTION small()",
    )
    async with open_ingest(database) as stack:
        await stack.send(timed(0))
        broken = [telemetry("d-1", b"{%d" % number) for number in range(7)]
        verdicts = await stack.send(*broken, timed(1), qos0=frozenset({0, 6, 7}))
    assert reasons(verdicts) == [Reason.INVALID_JSON] * 7
    assert verdicts[7] == STORED
    kept = look(database, "SELECT payload FROM quarantine_events ORDER BY id")
    assert [bytes(payload) for (payload,) in kept] == [message.payload for message in broken]
    assert ledger_sums(database)["received"] == 9
    assert ledger_sums(database)["qos0"] == 3


def kill_ours(database: Database, times: int) -> Callable[[str], None]:
    """A failpoint that ends the session of the batch just before its COMMIT."""
    left = times

    def kill(name: str) -> None:
        nonlocal left
        if name == "before_commit" and left:
            left -= 1
            look(
                database,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'appliance_ingest' AND state = 'idle in transaction'",
            )

    return kill


async def test_a_killed_session_costs_nothing(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database, failpoint=kill_ours(database, 3)) as stack:
        assert await stack.send(timed(1), telemetry("d-1", b'{"t":1}')) == [STORED, STORED]
    assert ledger_sums(database)["received"] == 2


@pytest.mark.parametrize("theft", list(Theft))
async def test_a_commit_without_an_answer_is_looked_up_and_not_guessed_at(database: Database, theft: Theft) -> None:
    await furnish(database)
    async with (
        commit_thief(database) as thief,
        open_ingest(database, conninfo=thief.conninfo(database, INGEST)) as stack,
    ):
        await stack.send(timed(0))
        thief.plan = theft
        unique = telemetry("d-1", b'{"t":1}')  # without a time of its own: written twice, it would be there twice
        verdicts = await stack.send(timed(1), unique, telemetry("d-1", b"{"))
        assert thief.stolen == 1
    assert verdicts[:2] == [STORED, STORED]
    assert reasons(verdicts) == [Reason.INVALID_JSON]
    assert look(database, "SELECT count(*) FROM telemetry") == [(3,)]
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(1,)]
    assert ledger_sums(database)["received"] == 4


class Crash:
    """A failpoint before the COMMIT: kill -9 of the backend, and somebody else commits before we are back."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.armed = False
        self.crashes = 0

    def __call__(self, name: str) -> None:
        if name != "before_commit" or not self.armed:
            return
        self.armed = False
        self.crashes += 1
        [(pid,)] = look(self.database, "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'")
        self.database.server.kill_backend(pid)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                for _ in range(5):
                    arrange(self.database, "CREATE TABLE IF NOT EXISTS busy (n integer)", "INSERT INTO busy VALUES (1)")
            except psycopg.OperationalError:
                time.sleep(0.02)  # it recovers
            else:
                return
        raise AssertionError("Postgres did not recover")


@pytest.mark.real  # a server of its own, which conftest cannot tell from its fixtures
async def test_a_batch_lost_in_a_crash_is_written_again_whoever_took_its_transaction_number() -> None:
    """What was not flushed is gone, its transaction's number too: Postgres gives it to the next one that comes."""
    with PostgresServer({"wal_writer_delay": "10s", "autovacuum": "off"}) as server:
        await make_template(server)
        database = create_database(server, template=TEMPLATE, owner=OWNER)
        await furnish(database)
        crash = Crash(database)
        async with open_ingest(database, failpoint=crash) as stack:
            await stack.send(timed(0))
            crash.armed = True
            assert await stack.send(timed(1), telemetry("d-1", b'{"t":1}')) == [STORED, STORED]
            assert crash.crashes == 1
        assert look(database, "SELECT count(*) FROM telemetry") == [(3,)]
        assert ledger_sums(database)["received"] == 3


async def test_states_written_after_a_clock_has_stepped_back_are_as_of_now(database: Database) -> None:
    """A mark in the future would hide from the next start what was stored after it, and put its clock in doubt."""
    await furnish(database)
    now = float(int(time.time()))
    ahead = now + 20 * 86_400
    clock = DoubtfulClock(ahead, ahead, trusted=True)
    query = "SELECT extract(epoch FROM state_written_at)::float8 FROM ingest_instances"
    async with open_ingest(database, clock=clock) as stack:
        await stack.send(telemetry("d-1", b'{"n":1}'), received=ahead)
        await until(lambda: look(database, query) == [(ahead,)])
        clock.at = now
        state = stack.states.get((TENANT, "d-1"))
        assert state is not None
        stack.states.touch(state)  # as healing does, and an `offline`
        await until(lambda: look(database, query) == [(now,)])
        clock.at = now + 2
        await stack.send(telemetry("d-1", b'{"n":2}'), received=now + 1)
        clock.at = now + 3
        await until(lambda: look(database, query) == [(now + 1,)])
        clock.at = now + 4
        stack.states.touch(state)
        await until(lambda: not stack.states.changed())
    assert look(database, query) == [(now + 1,)]


@pytest.mark.parametrize("years", [1, 10])
async def test_times_of_two_clocks_that_are_years_apart_make_no_partition_between_them(
    database: Database, years: int
) -> None:
    """While the clock is in doubt, both count as carried; thousands of partitions would hold up the stream for good."""
    await furnish(database)
    now = float(int(time.time()))
    clock = DoubtfulClock(now, now + years * 365 * 86_400)
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'telemetry'::regclass"
    [(before,)] = look(database, count)
    async with open_ingest(database, clock=clock) as stack:
        times = [clock.at, clock.wall_at, clock.wall_at - 86_400, clock.wall_at - 20 * 86_400]
        messages = [telemetry("d-1", b'{"ts":%d}' % at) for at in times]
        assert await stack.send(*messages, received=now) == [STORED] * 4
        assert await stack.send(*messages, received=now) == [DUPLICATE] * 4
    assert look(database, count) == [(before + 4,)]
    assert look(database, "SELECT count(*) FROM telemetry WHERE ts > now()") == [(3,)]


async def test_a_missing_partition_is_made(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        old = int(time.time()) - 20 * 86_400
        await stack.send(telemetry("d-1", b'{"ts":%d}' % old))
        [(partition,)] = look(database, "SELECT tableoid::regclass::text FROM telemetry")
        arrange(database, f"DROP TABLE {partition}")  # the writer still believes in it
        assert await stack.send(telemetry("d-1", b'{"ts":%d}' % old), timed(1)) == [STORED, STORED]
    assert look(database, "SELECT tableoid::regclass::text FROM telemetry ORDER BY ts LIMIT 1") == [(partition,)]


async def test_a_schema_that_is_not_ours_stops_the_appliance(database: Database) -> None:
    await furnish(database)
    with pytest.RaisesGroup(pytest.RaisesExc(ApplianceError, match="appliance migrate"), flatten_subgroups=True):
        async with open_ingest(database) as stack:
            await stack.send(timed(0))
            arrange(database, "ALTER TABLE ingest_ledger RENAME COLUMN duplicate TO double")
            await stack.send(timed(1))
