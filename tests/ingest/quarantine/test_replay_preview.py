"""Previews of replays, and offers of them: what is said is what the replay then does, and nothing is changed by it."""

from dataclasses import replace
from datetime import UTC, datetime

from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.devices.seats import changes as seats
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.reading import Reason
from tests.support.pipeline import (
    TENANT,
    IngestStack,
    Message,
    arrange,
    furnish,
    look,
    open_ingest,
    telemetry,
)
from tests.support.postgres_server import Database
from tests.support.replays import ALL, crowded, raise_limit, replayed
from tests.support.tenants import BY, GRACE


def replay_previewer(stack: IngestStack) -> ReplayPreviewer:
    return ReplayPreviewer(stack.pool, stack.registry, SystemClock(), Ingest(), Retention(), grace=GRACE)


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
