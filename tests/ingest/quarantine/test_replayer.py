"""Replays: each held message is stored once, by the time at which it came, or stays held with a reason (P1)."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from appliance.config import Ingest, Retention
from appliance.errors import NotFound
from appliance.ingest.batch import Accepted, Reading
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replays import ReplayStatus
from appliance.ingest.quarantine.revalidation import HeldMessage, Revalidation
from appliance.ingest.quarantine.store import Selection
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Reason
from tests.support.pipeline import (
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
from tests.support.postgres_server import Database
from tests.support.replays import approve, ask, crowded, finish, in_small_slices, raise_limit, replayed
from tests.support.tenants import ALICE
from tests.support.tenants import ingest as session


async def test_what_a_full_subscription_held_is_stored_in_full_after_the_limit_is_raised(database: Database) -> None:
    async with crowded(database, devices=30, each=4) as stack:
        before = await replayed(stack)
        assert (before.status, before.replayed) == (ReplayStatus.DONE, 0)
        assert before.refused == {Reason.NO_SUBSCRIPTION_CAPACITY: 120}
        await raise_limit(stack, 31)
        after = await replayed(stack)
        exposed = stack.metrics.exposition()
    assert (after.replayed, after.refused, after.total, after.examined) == (120, {}, 120, 120)
    assert b'appliance_replayed_messages_total{outcome="refused"} 120.0' in exposed
    assert b'appliance_replayed_messages_total{outcome="stored"} 120.0' in exposed
    assert look(database, "SELECT count(DISTINCT device_id), count(*) FROM telemetry") == [(31, 121)]
    assert look(database, "SELECT active_device_count FROM subscriptions") == [(31,)]
    assert look(database, "SELECT status, decided_by, count(*) FROM quarantine_events GROUP BY 1, 2") == [
        ("REPLAYED", ALICE.name, 120)
    ]
    assert ledger_sums(database) | {"qos0": 0} == {
        "received": 121, "stored": 1, "refused": 120, "duplicate": 0, "cleared": 0, "qos0": 0, "replayed": 120,
        "evicted": 0,
    }  # fmt: skip


@in_small_slices
async def test_a_burst_without_times_keeps_its_order_through_quarantine(database: Database) -> None:
    """Of two devices in one batch, which Postgres takes in halves only, and replayed slice by slice."""
    now = float(int(time.time()) - 600)
    async with crowded(database, devices=0) as stack:
        arrange(
            database,
            "CREATE SEQUENCE tries",
            "GRANT USAGE ON tries TO PUBLIC",
            "CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') <= 3 THEN"
            " RAISE EXCEPTION 'no room' USING ERRCODE = '53200'; END IF; RETURN NULL; END $$",
            "GRANT EXECUTE ON FUNCTION short() TO PUBLIC",
            "CREATE TRIGGER short BEFORE INSERT ON ingest_ledger FOR EACH STATEMENT EXECUTE FUNCTION short()",
        )
        burst = [telemetry(f"d{number % 2}", b'{"n":%d}' % number) for number in range(80)]
        await stack.send(*burst, received=now)
        await raise_limit(stack, 10)
        assert (await replayed(stack)).replayed == 80
    rows = look(
        database,
        "SELECT (metrics ->> 'n')::int, ts = received_at, extract(epoch FROM ts)::float8 - %s FROM telemetry"
        " WHERE device_id IN ('d0', 'd1') ORDER BY device_id, ts",
        now,
    )
    assert [number for number, _, _ in rows] == [*range(0, 80, 2), *range(1, 80, 2)]
    assert all(kept and 0 <= later < 0.001 for _, kept, later in rows)


async def test_two_replays_of_the_same_messages_store_nothing_twice(database: Database) -> None:
    async with crowded(database, devices=5) as stack:
        own_time = telemetry("seated", b"{")  # refused for good: no replay touches it
        await stack.send(own_time, telemetry("d000", b'{"without":"time"}'))
        await raise_limit(stack, 10)
        first, second = await ask(stack), await ask(stack)
        await finish(stack, first)
        async with stack.pool.connection() as connection:
            again = await replays.get_replay(connection, second.replay_id)
        with pytest.raises(NotFound):
            await ask(stack)
    assert first.total == second.total == 6
    assert (again.status, again.replayed, again.examined) == (ReplayStatus.DONE, 0, 0)
    assert look(database, "SELECT count(*) FROM telemetry") == [(7,)]
    assert ledger_sums(database)["replayed"] == 6


async def test_the_original_receive_time_is_kept_and_is_the_time_of_a_message_without_one(database: Database) -> None:
    await furnish(database, strategy="approve")
    received = int(time.time()) - 3 * 86_400
    async with open_ingest(database) as stack:
        await stack.send(
            telemetry("d-1", b'{"n":1}'),
            telemetry("d-1", b'{"ts":%d,"n":2}' % (received - 5)),
            telemetry("d-1", b'{"ts":%d,"n":3}' % (received + 400)),
            received=received,
        )
        await approve(stack, "d-1")
        assert (await replayed(stack)).replayed == 3
    rows = look(
        database,
        "SELECT metrics->>'n', round(extract(epoch FROM ts) - %s), abs(extract(epoch FROM received_at) - %s) < 1e-3,"
        " ts_adjusted FROM telemetry ORDER BY 1",
        received,
        received,
    )
    assert rows == [("1", 0, True, False), ("2", -5, True, False), ("3", 0, True, True)]


async def test_retention_is_tested_against_the_original_receive_time(database: Database) -> None:
    await furnish(database, strategy="approve")
    received = time.time() - 5 * 86_400
    async with open_ingest(database, kept_since=KeptSince(30)) as stack:
        kept = telemetry("d-1", b'{"ts":%d}' % (received - 29 * 86_400))
        too_old = telemetry("d-1", b'{"ts":%d}' % (received - 31 * 86_400))
        await stack.send(kept, too_old, received=received)
        await approve(stack, "d-1")
        done = await replayed(stack)
    assert (done.replayed, done.refused) == (1, {Reason.TIMESTAMP_TOO_OLD: 1})
    assert look(database, "SELECT reason, status FROM quarantine_events ORDER BY id") == [
        ("PENDING_APPROVAL", "REPLAYED"), ("TIMESTAMP_TOO_OLD", "HELD"),
    ]  # fmt: skip


async def test_refused_again_it_stays_held_with_the_new_reason_and_detail(database: Database) -> None:
    async with crowded(database, devices=2) as stack:
        async with session(database) as connection:
            await connection.execute("UPDATE tenants SET provisioning = 'off' WHERE tenant_id <> 'appliance'")
        stack.registry.forget()
        done = await replayed(stack)
    assert done.refused == {Reason.UNREGISTERED_DEVICE: 2}
    rows = look(database, "SELECT reason, detail, status, decided_at FROM quarantine_events")
    assert rows == [("UNREGISTERED_DEVICE", "the tenant registers its devices by hand", "HELD", None)] * 2
    assert ledger_sums(database)["refused"] == 2, "nothing new was received"


async def test_what_is_there_already_is_marked_and_not_counted(database: Database) -> None:
    async with crowded(database, devices=2) as stack:
        await raise_limit(stack, 5)
        [(payload,)] = look(database, "SELECT payload FROM quarantine_events WHERE device_id = 'd000'")
        assert await stack.send(telemetry("d000", bytes(payload))) == [Accepted.STORED]
        done = await replayed(stack)
    assert (done.replayed, done.duplicate) == (1, 1)
    assert look(database, "SELECT status FROM quarantine_events") == [("REPLAYED",), ("REPLAYED",)]
    assert ledger_sums(database)["replayed"] == 1


async def test_a_row_that_postgres_refuses_costs_one_message(database: Database) -> None:
    async with crowded(database, devices=30) as stack:
        await stack.send(telemetry("d007", b'{"poison":1}'))
        await raise_limit(stack, 100)
        arrange(database, "ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (metrics->>'poison' IS NULL)")
        done = await replayed(stack)
    assert (done.replayed, done.refused) == (30, {Reason.STORE_REFUSED: 1})
    [(detail, payload)] = look(database, "SELECT detail, payload FROM quarantine_events WHERE status = 'HELD'")
    assert "no_poison" in detail
    assert bytes(payload) == b'{"poison":1}'


async def test_a_message_without_a_time_of_its_own_is_told_apart_by_its_row(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        judge = Revalidation(Ingest(), Retention(), stack.registry.resolve).judge
        held = [HeldMessage(number, 10**15, "tenant/acme/device/d/telemetry", b"{}", "", "") for number in (7, 8)]
        first, second = await judge(held), await judge(held)
    digests = [item.verdict.digest for item in first + second if isinstance(item.verdict, Reading)]
    assert len(digests) == 4
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1]


async def test_a_replay_charges_no_bucket_and_leaves_newer_states_alone(database: Database) -> None:
    await furnish(database, strategy="approve")
    async with open_ingest(database) as stack:
        old = int(time.time()) - 7200
        await stack.send(telemetry("d-1", b'{"ts":%d,"n":1}' % old), received=old + 1)
        await approve(stack, "d-1")
        await stack.send(telemetry("d-1", b'{"n":2}'))
        seen = look(database, "SELECT max(received_at) FROM telemetry")
        await replayed(stack)
        state = stack.states.get((TENANT, "d-1"))
        assert state is not None
        assert state.latest == {"n": 2}
        await until(lambda: not stack.states.changed())
    assert look(database, "SELECT late, metrics->>'n' FROM telemetry ORDER BY ts") == [(True, "1"), (False, "2")]
    assert look(database, "SELECT last_seen_at, latest->>'n' FROM device_state") == [(seen[0][0], "2")]


async def test_the_state_of_a_device_known_from_replays_alone_survives_a_crash(database: Database) -> None:
    async with crowded(database, devices=1, each=3) as stack:
        await raise_limit(stack, 5)
        await replayed(stack)
    assert look(
        database,
        "SELECT latest->>'n', last_seen_at = max(t.received_at), last_ts = max(t.ts)"
        " FROM device_state JOIN telemetry AS t USING (tenant_id, device_id) WHERE device_id = 'd000'"
        " GROUP BY tenant_id, device_id, latest, last_seen_at, last_ts",
    ) == [("2", True, True)]


async def test_only_what_is_held_for_replay_is_replayed_unless_it_is_named(database: Database) -> None:
    await furnish(database, strategy="off")
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b"{"), Message(f"tenant/{TENANT}/device/d-1/status", b"online"))
        assert (await ask(stack)).total == 1
        named = await replayed(stack, Selection(tenant_id=TENANT, reasons=(Reason.INVALID_JSON,)))
        assert named.refused == {Reason.INVALID_JSON: 1}
        [(event_id,)] = look(database, "SELECT id FROM quarantine_events WHERE reason = 'INVALID_JSON'")
        assert (await replayed(stack, Selection(ids=(event_id,)))).refused == {Reason.INVALID_JSON: 1}
        for nothing in (
            Selection(ids=(event_id,), tenant_id="rival"),
            Selection(ids=(event_id, 10**12)),
            Selection(device_id="d-2"),
            Selection(tenant_id="rival"),
            Selection(tenant_id=TENANT, until=datetime.now(UTC) - timedelta(hours=1)),
        ):
            with pytest.raises(NotFound):
                await ask(stack, nothing)
