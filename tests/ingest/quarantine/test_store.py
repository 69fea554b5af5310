"""Decisions on quarantined messages behind the walls between tenants (P19, P20, P22)."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from appliance import local_time
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid, NotFound
from appliance.ingest.quarantine import replays, store
from appliance.ingest.quarantine.store import MAX_IDS, OPERATOR, SHOWN_IDS, MessageStatus, Selection
from appliance.local_time import DAY, HOUR
from appliance.reading import HELD_REASONS, Reason
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.tenants import ALICE, BY, customer, ingest
from tests.support.zones import CHANGES, YEAR

NOW = datetime.now(UTC)
MINE, RIVALS, NOBODYS = 1, 2, 3


@asynccontextmanager
async def three(database: Database) -> AsyncIterator[Connection[Any]]:
    """Insert a message each of acme, its rival and no tenant; connect as a customer of acme."""
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id)"
        " VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
        " SELECT now(), 't', tenant, 'd', 'DEVICE_INACTIVE', '{}' FROM unnest(ARRAY['acme', 'rival', NULL]) AS tenant",
    )
    async with customer(database, "acme") as connection:
        yield connection


async def test_a_customer_sees_and_decides_on_its_own_messages_only(database: Database) -> None:
    async with three(database) as connection:
        for selection in (Selection(), Selection(tenant_id="acme"), Selection(ids=(MINE, RIVALS, NOBODYS))):
            assert [event.event_id for event in await store.list_events(connection, selection, limit=50)] == [MINE]
        assert [(cause.held, cause.refused) for cause in await store.counts(connection, Selection())] == [(1, 0)]
        assert (await store.reach(connection, "acme")).held == 1
        assert (await store.reach(connection, "rival")).held == 0
        for other in (RIVALS, NOBODYS, 10**9):
            with pytest.raises(NotFound, match=str(other)):
                await store.get_event(connection, other)
            with pytest.raises(NotFound, match=str(other)):
                await store.dismiss(connection, Selection(ids=(other,)), BY)
            with pytest.raises(NotFound):
                await replays.request_replay(connection, Selection(tenant_id="acme", ids=(other,)), BY)
        assert await store.dismiss(connection, Selection(tenant_id="acme"), BY) == 1
    assert look(database, "SELECT id FROM quarantine_events WHERE status = 'DISMISSED'") == [(MINE,)]
    assert look(database, "SELECT tenant_id, held FROM quarantine_totals ORDER BY 1") == [
        ("", 1), ("acme", 0), ("rival", 1),
    ]  # fmt: skip


async def test_a_customer_cannot_ask_for_a_replay_of_anybody_elses(database: Database) -> None:
    async with three(database) as connection:
        job = await replays.request_replay(connection, Selection(tenant_id="acme"), BY)
        assert (job.total, job.selection.tenant_id, job.created_by) == (1, "acme", ALICE.name)
        assert set(job.selection.reasons) == HELD_REASONS
        for whose in (None, ""):
            async with refused(connection):
                await replays.request_replay(connection, Selection(tenant_id=whose), BY)
        async with refused(connection):
            await connection.execute("UPDATE quarantine_replays SET tenant_id = 'rival'")
    async with customer(database, "rival") as connection:
        with pytest.raises(NotFound):
            await replays.get_replay(connection, job.replay_id)
        with pytest.raises(NotFound):
            await replays.cancel(connection, job.replay_id, BY)
        assert await replays.list_replays(connection, limit=9) == []


@asynccontextmanager
async def refused(connection: Connection[Any]) -> AsyncIterator[None]:
    """Expect that row-level security refuses the block."""
    with pytest.raises((psycopg.errors.InsufficientPrivilege, NotFound)):
        async with connection.transaction():
            yield


async def test_the_rows_of_a_job_follow_its_column_and_not_what_its_selection_says(database: Database) -> None:
    """Row-level security checks the column; the JSON beside it could say anything."""
    async with three(database) as connection:
        await replays.request_replay(connection, Selection(tenant_id="acme"), BY)
    arrange(database, """UPDATE quarantine_replays SET selection = '{"tenant_id": "rival"}'""")
    async with ingest(database) as connection:
        assert (await replays.get_replay(connection, 1)).selection.tenant_id == "acme"


async def test_a_decision_has_one_audit_row_in_its_transaction(database: Database) -> None:
    async with three(database) as connection:
        await store.dismiss(connection, Selection(tenant_id="acme"), BY)
        rows = await (await connection.execute("SELECT action, actor, after->>'messages' FROM audit_log")).fetchall()
        assert rows == [("quarantine.dismiss", ALICE.name, "1")]
        with pytest.raises(NotFound):
            await store.dismiss(connection, Selection(tenant_id="acme"), BY)
        with pytest.raises(Conflict):
            await store.dismiss(connection, Selection(ids=(MINE,)), BY)
        event = await store.get_event(connection, MINE)
    assert (event.status, event.decided_by, event.decided_at) == (MessageStatus.DISMISSED, ALICE.name, BY.now)
    assert look(database, "SELECT count(*) FROM audit_log") == [(1,)]


async def test_of_many_ids_the_audit_row_names_the_first(database: Database) -> None:
    async with three(database):
        arrange(
            database,
            "INSERT INTO quarantine_events (ingested_at, topic, reason, payload)"
            " SELECT now(), 't', 'INTERNAL_ERROR', '' FROM generate_series(1, 300)",
        )
    async with ingest(database) as connection:
        every = Selection(ids=tuple(range(4, 304)))
        assert await store.dismiss(connection, every, BY) == 300
        too_many = Selection(ids=tuple(range(1, MAX_IDS + 2)))
        with pytest.raises(Invalid):
            await store.dismiss(connection, too_many, BY)
    [(named,)] = look(database, "SELECT jsonb_array_length(after->'selection'->'ids') FROM audit_log")
    assert named == SHOWN_IDS


async def test_selections_are_kept_as_they_were_asked_for(database: Database) -> None:
    async with three(database), ingest(database) as connection:
        wanted = Selection(
            tenant_id="rival", device_id="d", reasons=(Reason.DEVICE_INACTIVE,), until=NOW.replace(year=2100), ids=(2,)
        )
        job = await replays.request_replay(connection, wanted, BY)
        assert (await replays.get_replay(connection, job.replay_id)).selection == wanted
        everybody = await replays.request_replay(connection, Selection(), BY)
        assert (everybody.total, everybody.selection.tenant_id) == (3, None)
        nobody = await replays.request_replay(connection, Selection(tenant_id=""), BY)
        assert (nobody.total, nobody.selection.tenant_id) == (1, "")


async def test_lists_carry_the_beginning_of_a_payload_and_its_length(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, site_id, reason, payload)"
        " SELECT now(), 't', 'acme', 'd', site, 'DEVICE_INACTIVE', repeat('x', 100000)::bytea"
        " FROM unnest(ARRAY['north', 'south', NULL]) AS site",
    )
    south = Selection(tenant_id="acme", site_id="south")
    async with customer(database, "acme") as connection:
        short = await store.list_events(connection, Selection(), payload_bytes=20, limit=50)
        assert [(len(event.payload), event.payload_bytes) for event in short] == [(20, 100_000)] * 3
        (north,) = await store.list_events(connection, Selection(site_id="north"), limit=50)
        assert (north.site_id, len(north.payload)) == ("north", 100_000)
        assert await store.dismiss(connection, south, BY) == 1
        assert [cause.held for cause in await store.counts(connection, Selection())] == [2]


async def test_refusals_are_counted_exactly_by_reason_and_step(database: Database) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    arrange(
        database,
        "INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt) VALUES"
        " ('2026-01-01T12:00Z', 'acme', 'INVALID_JSON', 5), ('2026-01-01T12:59Z', 'acme', 'INVALID_JSON', 1),"
        " ('2026-01-01T13:00Z', 'acme', 'INVALID_JSON', 7), ('2026-01-01T13:30Z', '', 'BAD_TOPIC_FORMAT', 2),"
        " ('2026-01-01T11:59Z', 'acme', 'INVALID_JSON', 100), ('2026-01-01T15:00Z', 'acme', 'INVALID_JSON', 100),"
        " ('2026-01-01T14:00Z', 'rival', 'RATE_LIMITED', 9)",
    )
    count = partial(store.refused_by_step, edges=[noon + timedelta(hours=hours) for hours in range(4)])
    async with ingest(database) as connection:
        assert await count(connection, None) == {
            Reason.INVALID_JSON: [6, 7, 0],
            Reason.BAD_TOPIC_FORMAT: [0, 2, 0],
            Reason.RATE_LIMITED: [0, 0, 9],
        }
        assert await count(connection, OPERATOR) == {Reason.BAD_TOPIC_FORMAT: [0, 2, 0]}
    async with customer(database, "acme") as connection:
        assert await count(connection, None) == {Reason.INVALID_JSON: [6, 7, 0]}


async def test_held_messages_of_all_tenants_together_are_their_sum(database: Database) -> None:
    async with three(database) as connection:
        mine = await store.reach(connection, None)
        assert (mine.held, mine.oldest is not None) == (1, True), "a customer's all is its own"
    async with ingest(database) as connection:
        assert (await store.reach(connection, None)).held == 3
        assert await store.tenants_with_held(connection, 10) == ["acme", "rival"]
        assert await store.tenants_with_held(connection, 1) == ["acme"]


async def test_over_each_change_of_the_clock_every_refusal_is_counted_in_its_step(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)"
        " SELECT at, 'acme', 'INVALID_JSON', 1"
        f" FROM generate_series('{YEAR}-01-25Z'::timestamptz, '{YEAR}-11-15Z'::timestamptz, '15 min') AS at",
    )
    async with ingest(database) as connection:
        for zone, change in CHANGES:
            for step, steps in ((6 * HOUR, 28), (HOUR, 24), (120, 30), (DAY, 7)):
                edges = local_time.newest_edges(change + 0.4 * steps * step, step, steps, ZoneInfo(zone))
                moments = [datetime.fromtimestamp(edge, UTC) for edge in edges]
                counted = (await store.refused_by_step(connection, "acme", moments))[Reason.INVALID_JSON]
                due = [math.ceil(last / 900) - math.ceil(first / 900) for first, last in pairwise(edges)]
                assert counted == due, (zone, step)
