"""Jobs of replays: one worker at a time goes on where another one ended, and what people decide meanwhile holds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
import trio

from appliance.db.changes import Changes
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.errors import Conflict, NotFound
from appliance.ingest.quarantine import replayer as replay_module
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replayer import Replayer
from appliance.ingest.quarantine.replays import REPLAY_CHANNEL, ReplayStatus
from appliance.ingest.quarantine.revalidation import HeldMessage, RevalidatedMessage
from appliance.ingest.quarantine.store import Selection, dismiss
from tests.support.commit_thief import Theft, commit_thief
from tests.support.pipeline import (
    TENANT,
    arrange,
    ledger_sums,
    look,
    open_ingest,
    telemetry,
    until,
)
from tests.support.postgres_server import Database
from tests.support.replays import ask, crowded, finish, in_small_slices, raise_limit, replayer
from tests.support.tenants import ALICE, BY


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
