"""The writer and the pipeline over a real Postgres: one committed place for every message (P1 to P5)."""

import math
import time

import psycopg
import trio

from appliance.devices.live.rebuild import rebuild_states
from appliance.devices.live.state_observer import WRITE_INTERVAL
from appliance.ingest.batch import Accepted, Verdict
from appliance.reading import Reason
from tests.support.clock import latest_now
from tests.support.pipeline import (
    DUPLICATE,
    POISON,
    STORED,
    TENANT,
    Message,
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
from tests.support.postgres_server import Database


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


async def test_qos_0_has_a_column_of_its_own(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        one = timed(1)
        await stack.send(one, timed(2), telemetry("d-1", b"{"), one, qos0=frozenset({0, 2, 3}))
    assert ledger_sums(database)["qos0"] == 3
    assert ledger_sums(database)["received"] == 4


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
