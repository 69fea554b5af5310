"""What the writer refuses, over a real Postgres: each message has its reason, and all are counted (P1 to P5)."""

import time

import trio
from structlog.testing import capture_logs

from appliance.reading import Reason
from tests.support.pipeline import (
    DUPLICATE,
    PATIENCE_SECONDS,
    POISON,
    STORED,
    arrange,
    fail_times,
    furnish,
    ledger_sums,
    look,
    open_ingest,
    reasons,
    telemetry,
    timed,
)
from tests.support.postgres_server import Database


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
