"""Replays: each held message is stored once, by the time at which it came, or stays held with a reason (P1)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio

from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.db.changes import Changes
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.seats import changes as seats
from appliance.errors import Conflict, NotFound
from appliance.ingest.batch import Accepted, Reading
from appliance.ingest.quarantine import replayer as replay_module
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.ingest.quarantine.replayer import Replayer
from appliance.ingest.quarantine.replays import REPLAY_CHANNEL, ReplayStatus
from appliance.ingest.quarantine.revalidation import HeldMessage, RevalidatedMessage, Revalidation
from appliance.ingest.quarantine.store import Selection, dismiss
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Reason
from tests.support.commit_thief import Theft, commit_thief
from tests.support.pipeline import (
    TENANT,
    IngestStack,
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
from tests.support.replays import ALL, ask, crowded, finish, raise_limit, replayed, replayer
from tests.support.tenants import ALICE, BY, GRACE
from tests.support.tenants import ingest as session


def replay_previewer(stack: IngestStack) -> ReplayPreviewer:
    return ReplayPreviewer(stack.pool, stack.registry, SystemClock(), Ingest(), Retention(), grace=GRACE)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages a slice."""
    monkeypatch.setattr(replay_module, "REPLAY_ROWS", 10)


in_small_slices = pytest.mark.usefixtures("small_slices")


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


@in_small_slices
async def test_several_appliances_at_one_job_store_each_message_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "LEASE_SECONDS", -1.0)  # nobody leaves it to anybody
    async with crowded(database, devices=40, each=5) as stack, open_ingest(database, instance="two") as peer:
        await raise_limit(stack, 100)
        peer.registry.forget()
        job = await ask(stack)
        async with trio.open_nursery() as nursery:
            for hand in (replayer(stack, "one"), replayer(peer, "two"), replayer(stack, "three")):
                nursery.start_soon(finish, stack, job, hand)
        done = await finish(stack, job)
    assert (done.replayed, done.duplicate, done.gone, done.refused) == (200, 0, 0, {})
    assert look(database, "SELECT count(*) FROM telemetry") == [(201,)]
    assert ledger_sums(database)["replayed"] == 200


@in_small_slices
async def test_a_peer_leaves_a_job_to_whoever_was_seen_at_it(database: Database) -> None:
    async with crowded(database, devices=30) as stack:
        await raise_limit(stack, 100)
        await ask(stack)
        assert await replayer(stack, "one").step()
        assert not await replayer(stack, "two").step()
        arrange(database, "UPDATE quarantine_replays SET beat_at = now() - interval '1 minute'")
        assert await replayer(stack, "two").step()
        assert look(database, "SELECT replayed, instance FROM quarantine_replays") == [(20, "two")]


@in_small_slices
async def test_a_job_goes_on_where_a_killed_process_left_it(database: Database) -> None:
    async with crowded(database, devices=35) as stack:
        await raise_limit(stack, 100)
        job = await ask(stack)
        assert await replayer(stack).step()
        assert await replayer(stack).step()
    async with open_ingest(database) as stack:
        hand = replayer(stack)
        async with trio.open_nursery() as nursery:
            await nursery.start(hand.run)
            await until(lambda: look(database, "SELECT status FROM quarantine_replays") == [("DONE",)])
            nursery.cancel_scope.cancel()
        done = await finish(stack, job)
    assert (done.replayed, done.examined) == (35, 35)
    assert look(database, "SELECT count(*) FROM telemetry") == [(36,)]


async def test_a_new_job_wakes_whoever_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "POLL_SECONDS", 3600.0)
    async with crowded(database, devices=3) as stack, trio.open_nursery() as nursery:
        changes = Changes(partial(connect, database.conninfo(INGEST)), [REPLAY_CHANNEL])
        worker = replayer(stack)
        changes.subscribe(REPLAY_CHANNEL, worker.wake, worker.wake)
        await nursery.start(changes.run)
        await nursery.start(worker.run)
        await raise_limit(stack, 100)
        for device in ("d000", "d001"):
            await ask(stack, Selection(tenant_id=TENANT, device_id=device))
            await until(lambda: look(database, "SELECT ended_at FROM quarantine_replays WHERE ended_at IS NULL") == [])
        nursery.cancel_scope.cancel()
    assert look(database, "SELECT status, replayed FROM quarantine_replays") == [("DONE", 1), ("DONE", 1)]


@pytest.mark.parametrize("theft", list(Theft))
@in_small_slices
async def test_a_commit_without_an_answer_neither_loses_nor_doubles(database: Database, theft: Theft) -> None:
    async with crowded(database, devices=25) as stack:
        await stack.send(*[telemetry("d000", b'{"without":"time"}')] * 5)
        await raise_limit(stack, 100)
        job = await ask(stack)
    async with (
        commit_thief(database) as thief,
        open_ingest(database, conninfo=thief.conninfo(database, INGEST)) as stack,
        trio.open_nursery() as nursery,
    ):
        await stack.send(*[telemetry(f"d{number:03}", b'{"t":1}') for number in range(25)])  # nothing else to commit
        thief.plan = theft
        await nursery.start(replayer(stack).run)
        await until(lambda: look(database, "SELECT status FROM quarantine_replays") == [("DONE",)])
        nursery.cancel_scope.cancel()
        assert thief.stolen == 1
    async with open_ingest(database) as stack:
        done = await finish(stack, job)
    assert (done.replayed, done.examined) == (30, 30)
    assert look(database, "SELECT count(*) FROM telemetry") == [(1 + 25 + 30,)]
    ledger_sums(database)


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


async def approve(stack: IngestStack, device_id: str) -> None:
    async with stack.pool.connection() as connection:
        await seats.approve(
            connection, TENANT, device_id, replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC)), grace=GRACE
        )
    stack.registry.forget()


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


@in_small_slices
async def test_a_cancelled_job_stops_and_an_ended_one_cannot_be_cancelled(database: Database) -> None:
    async with crowded(database, devices=30) as stack:
        await raise_limit(stack, 100)
        job = await ask(stack)
        await replayer(stack).step()
        async with stack.pool.connection() as connection:
            context = replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC))
            with pytest.raises(NotFound):
                await replays.cancel(connection, job.replay_id, context, "rival")
            await replays.cancel(connection, job.replay_id, context, TENANT)
            with pytest.raises(Conflict):
                await replays.cancel(connection, job.replay_id, context, TENANT)
        done = await finish(stack, job)
    assert (done.status, done.replayed) == (ReplayStatus.CANCELLED, 10)
    actions = look(database, "SELECT action, object_id, actor FROM audit_log WHERE action ~ '^quarantine' ORDER BY id")
    assert actions == [
        ("quarantine.replay", "selection", ALICE.name), ("quarantine.cancel_replay", "1", ALICE.name),
    ]  # fmt: skip


async def test_what_was_dismissed_meanwhile_is_left_alone(database: Database) -> None:
    async with crowded(database, devices=5) as stack:
        await raise_limit(stack, 100)
        job = await ask(stack)
        async with stack.pool.connection() as connection:
            await dismiss(
                connection, Selection(device_id="d003"), replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC))
            )
        done = await finish(stack, job)
    assert (done.total, done.replayed) == (5, 4)
    assert look(database, "SELECT device_id FROM quarantine_events WHERE status = 'DISMISSED'") == [("d003",)]


def between_verdict_and_commit(hand: Replayer, act: Callable[[], None]) -> None:
    """Have ``act`` done at the worst moment of the next slice."""
    judge = hand._revalidation.judge

    async def judged(messages: Sequence[HeldMessage]) -> list[RevalidatedMessage]:
        found = await judge(messages)
        act()
        return found

    hand._revalidation.judge = judged  # type: ignore[method-assign]


async def test_what_is_decided_between_the_verdict_and_the_commit_is_not_stored(database: Database) -> None:
    async with crowded(database, devices=5) as stack:
        await raise_limit(stack, 100)
        hand = replayer(stack)
        decide = "SET status = 'DISMISSED', decided_at = now()"
        between_verdict_and_commit(
            hand,
            lambda: arrange(
                database,
                f"UPDATE quarantine_events {decide} WHERE device_id = 'd001'",
                "DELETE FROM quarantine_events WHERE device_id = 'd002'",
            ),
        )
        done = await finish(stack, await ask(stack), hand)
    assert (done.status, done.replayed, done.gone) == (ReplayStatus.DONE, 3, 2)
    assert look(database, "SELECT device_id FROM telemetry ORDER BY 1") == [
        ("d000",),
        ("d003",),
        ("d004",),
        ("seated",),
    ]
    assert ledger_sums(database)["replayed"] == 3


async def test_a_job_cancelled_between_the_verdict_and_the_commit_stores_nothing(database: Database) -> None:
    async with crowded(database, devices=5) as stack:
        await raise_limit(stack, 100)
        hand = replayer(stack)
        cancelled = "UPDATE quarantine_replays SET status = 'CANCELLED', ended_at = now()"
        between_verdict_and_commit(hand, lambda: arrange(database, cancelled))
        done = await finish(stack, await ask(stack), hand)
    assert (done.status, done.replayed) == (ReplayStatus.CANCELLED, 0)
    assert look(database, "SELECT count(*) FROM telemetry") == [(1,)]
    assert look(database, "SELECT DISTINCT status FROM quarantine_events") == [("HELD",)]


async def test_a_job_that_meets_a_bug_ends_and_the_next_one_is_served(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crowded(database, devices=3) as stack:
        await raise_limit(stack, 100)
        hand = replayer(stack)

        async def bug(_messages: object) -> None:
            raise RuntimeError("a bug\0")

        job = await ask(stack)
        with monkeypatch.context() as patch:
            patch.setattr(hand._revalidation, "judge", bug)
            failed = await finish(stack, job, hand)
        assert (failed.status, failed.error) == (ReplayStatus.FAILED, "a bug\\u0000")
        assert (await finish(stack, await ask(stack), hand)).replayed == 3


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


async def test_a_preview_says_what_the_replay_then_does_and_changes_nothing(database: Database) -> None:
    async with crowded(database, devices=30, each=2) as stack:
        await stack.send(telemetry("d000", b'{"site_id":"roof","t":1}'))  # where it stands, once it is registered
        await raise_limit(stack, 21)
        arrange(database, "UPDATE device_registry SET site_id = 'hall'")
        await stack.send(telemetry("seated", b'{"site_id":"roof","t":1}'))
        await stack.send(Message(f"tenant/{TENANT}/device/ghost/heartbeat", b'{"site_id":"roof"}'))  # takes a seat
        before = snapshot(database)
        reported: list[tuple[int, int]] = []
        preview = await replay_previewer(stack).preview(ALL, progress=lambda *pair: reported.append(pair))
        assert snapshot(database) == before
        assert reported == [(62, 62)]
        assert preview.complete
        done = await replayed(stack)
    assert (preview.selected, preview.examined) == (62, 62)
    assert (preview.passing, preview.refused) == (done.replayed, done.refused)
    assert preview.refused == {Reason.NO_SUBSCRIPTION_CAPACITY: 22, Reason.SITE_MISMATCH: 1}
    assert preview.new_devices == 19


def snapshot(database: Database) -> list[object]:
    """Everything that a preview might change."""
    tables = "telemetry", "quarantine_events", "device_registry", "subscriptions", "ingest_ledger", "audit_log"
    return [look(database, f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in tables]


async def test_a_preview_under_approval_seats_nobody(database: Database) -> None:
    await furnish(database, strategy="off")
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b"{}"), telemetry("d-2", b"{}"))
        arrange(database, "UPDATE tenants SET provisioning = 'approve' WHERE tenant_id <> 'appliance'")
        stack.registry.forget()
        preview = await replay_previewer(stack).preview(ALL)
    assert (preview.passing, preview.refused) == (0, {Reason.PENDING_APPROVAL: 2})


async def test_a_preview_of_too_much_says_how_much_it_examined(database: Database) -> None:
    async with crowded(database, devices=30, each=20) as stack:
        preview = await replay_previewer(stack).preview(ALL, at_most=300)
    assert (preview.selected, preview.examined, preview.complete) == (600, 400, False)


async def test_held_messages_are_offered_once_their_cause_is_gone(database: Database) -> None:
    await furnish(database, seats=2)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("a", b'{"t":1}'), telemetry("b", b'{"t":1}'))
        async with stack.pool.connection() as connection:
            await seats.deactivate(
                connection, TENANT, "a", replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC))
            )
        stack.registry.forget()
        await stack.send(telemetry("a", b'{"t":2}'), telemetry("a", b'{"t":3}'))
        await stack.send(telemetry("c", b'{"t":1}'))  # takes the seat
        await stack.send(telemetry("d", b'{"t":1}'), telemetry("e", b'{"t":1}'))
        assert await replay_previewer(stack).offers(TENANT) == []
        await raise_limit(stack, 3)
        [seat] = await replay_previewer(stack).offers(TENANT)
        assert (seat.reason, seat.messages, seat.devices) == (Reason.NO_SUBSCRIPTION_CAPACITY, 1, 1)
        await raise_limit(stack, 5)
        async with stack.pool.connection() as connection:
            await seats.reactivate(
                connection, TENANT, "a", replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC)), grace=GRACE
            )
        stack.registry.forget()
        offers = await replay_previewer(stack).offers(TENANT)
        assert {offer.reason: (offer.messages, offer.devices) for offer in offers} == {
            Reason.DEVICE_INACTIVE: (2, 1), Reason.NO_SUBSCRIPTION_CAPACITY: (2, 2),
        }  # fmt: skip
        assert (await replayed(stack)).replayed == 4
        assert await replay_previewer(stack).offers(TENANT) == []


async def test_a_message_of_another_site_is_offered_once_the_device_is_there(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("a", b'{"site_id":"hall"}'))
        await stack.send(telemetry("a", b'{"site_id":"roof"}'))
        assert await replay_previewer(stack).offers(TENANT) == []
        arrange(database, "UPDATE device_registry SET site_id = 'roof'")
        [offer] = await replay_previewer(stack).offers(TENANT)
    assert (offer.reason, offer.messages) == (Reason.SITE_MISMATCH, 1)
