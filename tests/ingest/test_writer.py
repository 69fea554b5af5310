"""The writer and the pipeline over a real Postgres: one committed place for every message (P1 to P5)."""

import math
import time
from collections.abc import Callable

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from appliance.db.roles import INGEST, OWNER
from appliance.devices.live.rebuild import rebuild_states
from appliance.devices.live.state_observer import WRITE_INTERVAL
from appliance.errors import ApplianceError
from appliance.ingest.batch import Accepted, Verdict
from appliance.reading import Reason, Refusal
from tests.support.clock import DoubtfulClock, latest_now
from tests.support.commit_thief import Theft, commit_thief
from tests.support.pipeline import (
    PATIENCE_SECONDS,
    TENANT,
    Message,
    arrange,
    furnish,
    ledger_sums,
    look,
    open_ingest,
    telemetry,
    until,
)
from tests.support.postgres_server import TEMPLATE, Database, PostgresServer, create_database, make_template

STORED, DUPLICATE = Accepted.STORED, Accepted.DUPLICATE
POISON = "ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (metrics->>'poison' IS NULL)"


def timed(number: int, device: str = "d-1") -> Message:
    """A message with a time of its own, told apart by its number."""
    return telemetry(device, b'{"ts":%d,"n":%d}' % (int(time.time()) - 600, number))


def reasons(verdicts: list[Verdict]) -> list[Reason]:
    return [verdict.reason for verdict in verdicts if isinstance(verdict, Refusal)]


def fail_times(database: Database, times: int, sqlstate: str, table: str = "ingest_ledger") -> None:
    """The next ``times`` statements that insert into ``table`` fail; a sequence counts, for it survives a rollback."""
    arrange(
        database,
        "CREATE SEQUENCE IF NOT EXISTS failures",
        "GRANT USAGE ON failures TO PUBLIC",
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('failures') <= {times} THEN"
        f" RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate}'; END IF; RETURN NULL; END $$",
        "GRANT EXECUTE ON FUNCTION fail() TO PUBLIC",
        f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    )


async def test_readings_are_stored_as_they_came(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        at = int(time.time()) - 60
        assert await stack.send(
            telemetry("d-1", b'{"ts":%d,"seq":7,"site_id":"hall","lat":1.5,"lng":2.5,"t":9007199254740993}' % at),
            Message(f"tenant/{TENANT}/device/d-1/heartbeat", b""),
            received=at + 1.5,
        ) == [STORED, STORED]
    rows = look(
        database,
        "SELECT device_id, kind, extract(epoch FROM ts)::float8, extract(epoch FROM received_at)::float8, ts_adjusted,"
        " late, seq, site_id, lat, lng, metrics::text FROM telemetry ORDER BY ts",
    )
    assert rows == [
        ("d-1", "telemetry", at, at + 1.5, False, False, 7, "hall", 1.5, 2.5, '{"t": 9007199254740993}'),
        ("d-1", "heartbeat", at + 1.5, at + 1.5, False, False, None, None, None, None, "{}"),
    ]
    assert ledger_sums(database) | {"qos0": 0} == {
        "received": 2, "stored": 2, "refused": 0, "duplicate": 0, "cleared": 0, "qos0": 0, "replayed": 0, "evicted": 0,
    }  # fmt: skip


async def test_the_first_message_of_a_new_device_is_stored_and_nothing_else(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        assert await stack.send(timed(1, "new"), timed(2, "new")) == [STORED, STORED]
    assert look(database, "SELECT device_id, status FROM device_registry") == [("new", "ACTIVE")]
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(0,)]


async def test_a_message_is_a_duplicate_within_a_batch_and_across_batches(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        one, two, three = timed(1), timed(2), timed(3)
        assert await stack.send(one, two, one) == [STORED, STORED, DUPLICATE]
        assert await stack.send(two, three, one, three) == [DUPLICATE, STORED, DUPLICATE, DUPLICATE]
    assert look(database, "SELECT count(*) FROM telemetry") == [(3,)]
    assert ledger_sums(database)["duplicate"] == 4


async def test_a_burst_without_times_is_stored_in_its_order_at_the_time_of_its_receipt(database: Database) -> None:
    """As one submission after another, of a device that is not known yet, all received in the same instant."""
    await furnish(database)
    now = float(int(time.time()))
    async with open_ingest(database) as stack:
        for start in range(0, 40, 8):
            messages = [telemetry("d-1", b'{"n":%d}' % number) for number in range(start, start + 8)]
            await stack.send(*messages, received=now)
    rows = look(
        database,
        "SELECT (metrics ->> 'n')::int, (extract(epoch FROM ts - received_at) * 1000000)::int, late,"
        " extract(epoch FROM received_at)::float8 FROM telemetry ORDER BY ts",
    )
    assert rows == [(number, number, False, now) for number in range(40)]


async def test_messages_without_a_time_of_their_own_are_never_taken_for_one(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        message = telemetry("d-1", b'{"t":1}')
        assert await stack.send(message, message, received=1000 + int(time.time()) - 2000) == [STORED, STORED]
    assert look(database, "SELECT count(*), count(DISTINCT ts), count(DISTINCT digest) FROM telemetry") == [(2, 2, 2)]


async def test_a_row_that_postgres_refuses_costs_one_message(database: Database) -> None:
    await furnish(database)
    arrange(database, POISON)
    async with open_ingest(database) as stack:
        known = timed(0)
        await stack.send(known)
        payload = b'{"ts":%d,"poison":1}' % (int(time.time()) - 600)
        batch = [timed(number) for number in range(1, 40)]
        verdicts = await stack.send(*batch[:20], telemetry("d-1", payload), *batch[20:], known, batch[3])
    assert reasons(verdicts) == [Reason.STORE_REFUSED]
    assert [verdict for verdict in verdicts if verdict is DUPLICATE] == verdicts[-2:] == [DUPLICATE, DUPLICATE]
    assert verdicts[:20] + verdicts[21:-2] == [STORED] * 39
    [(kept, reason, detail, status)] = look(database, "SELECT payload, reason, detail, status FROM quarantine_events")
    assert (bytes(kept), reason, status) == (payload, "STORE_REFUSED", "HELD")
    assert "23514" in detail
    assert "no_poison" in detail
    assert ledger_sums(database)["refused"] == 1


async def test_a_batch_of_poison_only_is_refused_row_by_row(database: Database) -> None:
    await furnish(database)
    arrange(database, POISON)
    async with open_ingest(database) as stack:
        await stack.send(timed(0))
        verdicts = await stack.send(*(telemetry("d-1", b'{"poison":%d}' % number) for number in range(25)))
    assert reasons(verdicts) == [Reason.STORE_REFUSED] * 25
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(10,)], "sampled: ten a minute"
    assert ledger_sums(database)["refused"] == 25


async def test_tries_of_a_batch_take_nothing_from_the_sample_of_its_poison(database: Database) -> None:
    await furnish(database)
    arrange(database, POISON)
    fail_times(database, 4, "40001")  # each time the poison has been found, and everything is rolled back
    minute = time.time() // 60 * 60 - 60
    async with open_ingest(database) as stack:

        async def poison(count: int) -> None:
            batch = [telemetry("d-1", b'{"poison":%d}' % number) for number in range(count)]
            assert reasons(await stack.send(*batch, received=minute)) == [Reason.STORE_REFUSED] * count

        await poison(8)
        assert look(database, "SELECT count(*) FROM quarantine_events") == [(8,)]
        await poison(8)
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(10,)]
    assert ledger_sums(database)["refused"] == 16


async def test_quarantine_that_refuses_its_rows_holds_nobody_back_and_still_counts(database: Database) -> None:
    await furnish(database)
    arrange(database, "ALTER TABLE quarantine_events ADD CONSTRAINT none_ever CHECK (id < 0)")
    async with open_ingest(database) as stack:
        with trio.fail_after(PATIENCE_SECONDS):
            verdicts = await stack.send(timed(0), telemetry("d-1", b"{"), timed(1))
    assert (verdicts[0], reasons(verdicts), verdicts[2]) == (STORED, [Reason.INVALID_JSON], STORED)
    assert look(database, "SELECT sum(cnt)::int FROM quarantine_counters_minute") == [(1,)]
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(0,)]
    assert ledger_sums(database)["received"] == 3


async def test_rows_of_quarantine_that_the_halves_of_a_batch_lose_are_reported(database: Database) -> None:
    """They were left out already when room ran out: the halves must not lose them without a word."""
    await furnish(database)
    arrange(
        database,
        "ALTER TABLE quarantine_events ADD CONSTRAINT none_ever CHECK (id < 0)",
        "CREATE SEQUENCE failures",
        "GRANT USAGE ON failures TO PUBLIC",
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('failures') <= 1 THEN"
        " RAISE EXCEPTION 'no room' USING ERRCODE = '53200'; END IF; RETURN NULL; END $$",
        "GRANT EXECUTE ON FUNCTION fail() TO PUBLIC",
        "CREATE TRIGGER fail BEFORE INSERT ON ingest_ledger FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    )
    async with open_ingest(database) as stack:
        with trio.fail_after(PATIENCE_SECONDS), capture_logs() as logged:
            verdicts = await stack.send(telemetry("d-1", b"{"), timed(0))
    assert (reasons(verdicts), verdicts[1]) == ([Reason.INVALID_JSON], STORED)
    assert [line["event"] for line in logged].count("rows of quarantine refused by Postgres") == 1
    assert ledger_sums(database)["received"] == 2


async def test_null_metrics_and_lookups_of_the_registry_are_counted(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1,"h":null,"b":null}'), telemetry("d-1", b'{"t":null}'))
        await stack.send(telemetry("d-1", b'{"lat":52.52,"batt":86}'), telemetry("d-1", b'{"lat":52,"lng":13}'))
        text = stack.metrics.exposition()
        await until(lambda: look(database, "SELECT null_metrics, unplaced FROM device_state") == [(3, 1)])
    assert b"appliance_null_metrics_total 3.0" in text
    assert b"appliance_unplaced_positions_total 1.0" in text
    assert b"appliance_registry_lookups_total 1.0" in text


async def test_a_cleared_topic_is_counted_and_nothing_else(database: Database) -> None:
    """Of a device that is accepted, of one that nobody knows, and of a tenant that does not exist."""
    await furnish(database)
    topics = ("acme/device/d-1/telemetry", "acme/device/new/status", "nobody/device/d/heartbeat")
    clearing = [Message(f"tenant/{topic}", b"", retain=True) for topic in topics]
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        await until(lambda: look(database, "SELECT 1 FROM device_state WHERE last_seen_at IS NOT NULL"))
        before = look(database, "SELECT * FROM device_state")
        assert await stack.send(*clearing, qos0=frozenset({0})) == [Accepted.CLEARED] * 3
        await stack.send(telemetry("d-2", b'{"t":1}'))
        await until(lambda: look(database, "SELECT 1 FROM device_state WHERE device_id = 'd-2'"))
        assert look(database, "SELECT * FROM device_state WHERE device_id <> 'd-2'") == before
        assert b'appliance_messages_total{outcome="cleared"} 3.0' in stack.metrics.exposition()
    assert [summary.cleared for summary in stack.summaries if summary.received == 3] == [3]
    assert look(database, "SELECT device_id FROM device_registry ORDER BY 1") == [("d-1",), ("d-2",)]
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(0,)]
    assert ledger_sums(database) == {
        "received": 5, "stored": 2, "refused": 0, "duplicate": 0, "cleared": 3, "qos0": 1, "replayed": 0, "evicted": 0,
    }  # fmt: skip
    cleared = "SELECT tenant_id, sum(cleared)::int FROM ingest_ledger WHERE cleared > 0 GROUP BY 1 ORDER BY 1"
    assert look(database, cleared) == [("", 1), ("acme", 2)]


async def test_cleared_topics_stay_counted_when_a_batch_is_halved(database: Database) -> None:
    await furnish(database)
    fail_times(database, 2, "53200")
    clearing = [Message("tenant/acme/device/d-1/status", b"", retain=True)] * 3
    async with open_ingest(database) as stack:
        verdicts = await stack.send(*clearing, telemetry("d-1", b'{"t":1}'), *clearing)
    assert (verdicts.count(Accepted.CLEARED), verdicts[3]) == (6, STORED)
    assert ledger_sums(database)["cleared"] == 6


async def test_malformed_messages_are_kept_raw_and_reach_nothing(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        broken = telemetry("ghost", b'{"t":1'), telemetry("ghost", b'{"t":"\xff"}'), telemetry("ghost", b"\0")
        assert reasons(await stack.send(*broken)) == [
            Reason.INVALID_JSON, Reason.INVALID_ENCODING, Reason.INVALID_JSON,
        ]  # fmt: skip
        text = stack.metrics.exposition()
        assert b"invalid_json_total 2.0" in text
        assert b"invalid_encoding_total 1.0" in text
    kept = look(database, "SELECT payload FROM quarantine_events ORDER BY id")
    assert [bytes(payload) for (payload,) in kept] == [message.payload for message in broken]
    for table in ("telemetry", "device_registry", "device_state"):
        assert look(database, f"SELECT count(*) FROM {table}") == [(0,)]


async def test_counters_are_exact_and_rows_are_ten_a_minute_for_each_device_and_reason(database: Database) -> None:
    await furnish(database)
    minute = time.time() // 60 * 60
    async with open_ingest(database) as stack:
        for device in ("a", "b"):
            await stack.send(*[telemetry(device, b"{")] * 30, received=minute)
            await stack.send(*[telemetry(device, b"{")] * 30, received=minute + 59)
            await stack.send(*[telemetry(device, b'{"seq":-1}')] * 30, received=minute + 59)
        await stack.send(*[telemetry("a", b"{")] * 30, received=minute + 60)
    rows = look(
        database,
        "SELECT device_id, reason, date_trunc('minute', ingested_at) = to_timestamp(%s), count(*)"
        " FROM quarantine_events GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        minute,
    )
    assert rows == [
        ("a", "INVALID_JSON", False, 10), ("a", "INVALID_JSON", True, 10), ("a", "INVALID_PAYLOAD", True, 10),
        ("b", "INVALID_JSON", True, 10), ("b", "INVALID_PAYLOAD", True, 10),
    ]  # fmt: skip
    counted = look(database, "SELECT reason, sum(cnt)::int FROM quarantine_counters_minute GROUP BY 1 ORDER BY 1")
    assert counted == [("INVALID_JSON", 150), ("INVALID_PAYLOAD", 60)]
    assert ledger_sums(database)["refused"] == 210


async def test_what_is_held_for_replay_is_held_in_full(database: Database) -> None:
    await furnish(database, seats=1)
    async with open_ingest(database) as stack:
        await stack.send(timed(0, "seated"))
        verdicts = await stack.send(*(timed(number, "unseated") for number in range(200)))
    assert reasons(verdicts) == [Reason.NO_SUBSCRIPTION_CAPACITY] * 200
    assert look(database, "SELECT count(*) FROM quarantine_events WHERE status = 'HELD'") == [(200,)]


async def test_messages_of_no_known_tenant_belong_to_the_operator(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        for _ in range(2):  # the second time it is remembered that there is no such tenant
            assert reasons(await stack.send(telemetry("d", b"{}", "nobody"))) == [Reason.UNKNOWN_TENANT]
            assert reasons(await stack.send(telemetry("d", b"{", "nobody"))) == [Reason.INVALID_JSON]
        assert reasons(await stack.send(telemetry("d", b"{}", "noone"), telemetry("d", b"{", "noone"))) == [
            Reason.UNKNOWN_TENANT, Reason.INVALID_JSON,
        ]  # fmt: skip
    assert look(database, "SELECT DISTINCT tenant_id, topic FROM quarantine_events ORDER BY topic") == [
        (None, "tenant/nobody/device/d/telemetry"), (None, "tenant/noone/device/d/telemetry"),
    ]  # fmt: skip
    assert look(database, "SELECT tenant_id, sum(received)::int FROM ingest_ledger GROUP BY 1") == [("", 6)]
    assert look(database, "SELECT DISTINCT tenant_id FROM quarantine_counters_minute") == [("",)]


async def test_qos_0_has_a_column_of_its_own(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        one = timed(1)
        await stack.send(one, timed(2), telemetry("d-1", b"{"), one, qos0=frozenset({0, 2, 3}))
    assert ledger_sums(database)["qos0"] == 3
    assert ledger_sums(database)["received"] == 4


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


async def test_nothing_is_acknowledged_before_its_commit_and_all_in_order(database: Database) -> None:
    await furnish(database)
    seen: list[tuple[int, int]] = []
    async with open_ingest(database, batch_size=3) as stack, trio.open_nursery() as nursery:
        await stack.send(timed(0))
        with psycopg.connect(database.conninfo()) as blocker:
            blocker.execute("LOCK TABLE ingest_ledger IN SHARE MODE")

            async def submit() -> None:
                for number in range(1, 11):

                    def settle(_: list[Verdict], number: int = number) -> None:
                        [(rows,)] = look(database, "SELECT count(*) FROM telemetry")
                        seen.append((number, rows))

                    await stack.submit([timed(number)], settle)

            nursery.start_soon(submit)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'appliance_ingest'"
            await until(lambda: look(database, waiting))
            assert seen == []
            assert look(database, "SELECT count(*) FROM telemetry") == [(1,)]
        await until(lambda: len(seen) == 10)
    assert [number for number, _ in seen] == list(range(1, 11))
    assert all(rows > number for number, rows in seen), "one was settled before its row was there"


async def test_the_ledger_balances_in_every_snapshot(database: Database) -> None:
    await furnish(database)
    arrange(database, POISON)
    async with open_ingest(database) as stack, trio.open_nursery() as nursery:

        async def traffic() -> None:
            for number in range(150):
                again = timed(number)
                doubtful = b'{"poison":1}' if number % 10 == 0 else b'{"t":1}'
                await stack.send(again, telemetry("d-2", doubtful), telemetry("d-1", b"{"), again)
            nursery.cancel_scope.cancel()

        async def audit() -> None:
            while True:
                await trio.to_thread.run_sync(ledger_sums, database)

        nursery.start_soon(traffic)
        nursery.start_soon(audit)
    assert ledger_sums(database)["received"] == 600
    assert ledger_sums(database)["duplicate"] == 150
    assert ledger_sums(database)["refused"] == 150 + 15


async def test_states_are_written_once_a_second_and_only_what_changed(database: Database) -> None:
    await furnish(database)
    arrange(
        database,
        "CREATE TABLE writes (transaction xid8, device_id text)",
        "GRANT INSERT ON writes TO PUBLIC",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO writes VALUES (pg_current_xact_id(), NEW.device_id); RETURN NULL; END $$",
        "GRANT EXECUTE ON FUNCTION note() TO PUBLIC",
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON device_state FOR EACH ROW EXECUTE FUNCTION note()",
    )
    started = time.monotonic()
    async with open_ingest(database, write_interval=WRITE_INTERVAL) as stack:
        await stack.send(timed(0, "silent"))
        for number in range(60):
            await stack.send(timed(number, "a"), timed(number, "b"))
        await until(lambda: not stack.states.changed())
    [(writes,)] = look(database, "SELECT count(DISTINCT transaction) FROM writes")
    assert 1 <= writes <= 1 + time.monotonic() - started
    assert look(database, "SELECT count(*) FROM writes WHERE device_id = 'silent'") == [(1,)]
    [state] = look(database, "SELECT latest->>'n', last_ts <= now() FROM device_state WHERE device_id = 'a'")
    assert state == ("59", True)


async def test_states_that_a_crash_lost_are_rebuilt(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database, write_interval=math.inf) as stack:
        await stack.send(timed(1), telemetry("d-2", b'{"t":5}'))
        assert stack.states.changed(), "nothing is left to lose"
    assert look(database, "SELECT count(*) FROM device_state") == [(0,)]
    async with open_ingest(database) as stack:
        assert await rebuild_states(stack.pool, "one", latest=latest_now()) == 2
        states = "SELECT device_id, latest::text, last_seen_at = last_heard_at FROM device_state ORDER BY 1"
        assert look(database, states) == [("d-1", '{"n": 1}', True), ("d-2", '{"t": 5}', True)]
        late = telemetry("d-1", b'{"ts":%d,"n":0}' % (int(time.time()) - 7200))
        assert await stack.send(late) == [STORED]
        assert look(database, "SELECT late FROM telemetry ORDER BY ts LIMIT 1") == [(True,)]


async def test_a_late_reading_moves_nothing_backwards(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(timed(2))
        await stack.send(telemetry("d-1", b'{"ts":%d,"n":1}' % (int(time.time()) - 7200)))
        state = stack.states.get((TENANT, "d-1"))
    assert state is not None
    assert state.latest == {"n": 2}
    assert look(database, "SELECT metrics->>'n', late FROM telemetry ORDER BY ts") == [("1", True), ("2", False)]


async def test_what_a_deleted_device_goes_on_sending_keeps_nothing_of_it_in_memory(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(timed(1))
        arrange(database, "UPDATE device_registry SET status = 'DECOMMISSIONED', subscription_id = NULL")
        stack.registry.forget()
        assert reasons(await stack.send(timed(2))) == [Reason.DEVICE_DECOMMISSIONED]
        state = stack.states.get((TENANT, "d-1"))
    assert state is not None
    assert (state.latest, state.last_ts, state.refused_reason) == ({}, 0, None)
