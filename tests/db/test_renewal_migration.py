"""Terms of the platform before renewals: each change by an operator stood there like a sale."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.migrations import migrate, shipped
from appliance.db.trio_psycopg import connect
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import renew
from appliance.subscriptions import store
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, ingest, rows

RENEWALS = 32
"""The migration under test."""
CHANGES = 40
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
MAIN, ADDON, TRIAL = "SUB-20260301-00001", "SUB-20260301-00002", "SUB-20260401-00003"
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})

TENANT = """
INSERT INTO tenants (tenant_id, name, time_zone, created_at, updated_at) VALUES (%s, 'Old', 'UTC', %s, %s)
"""
SUBSCRIPTION = """
INSERT INTO subscriptions (tenant_id, subscription_id, subscription_type, parent_subscription_id, device_limit,
  term_start, term_end, status, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, 'ACTIVE', %s)
"""
TERM = """
INSERT INTO subscription_terms
  (tenant_id, subscription_id, term_start, term_end, device_limit, plan_id, actor, idempotency_key, bought_at)
VALUES (%s, %s, %s, %s, %s, NULL, 'operator', NULL, %s)
"""


def last_end(day: int) -> datetime:
    """Return the end after so many changes: each moved it by a day, and the first sold a year."""
    return START + (365 + day) * DAY


async def write_old_rows(owner: Any) -> None:
    """Write what the program before did: a row for the sale, and one like it for each change of MAIN and its ADDON."""
    for tenant in ("acme", "rival"):
        await owner.execute(TENANT, [tenant, START, START])
        family = ((MAIN, "MAIN", None, 10), (ADDON, "ADDON", MAIN, 2))
        for subscription, kind, parent, limit in family:
            end = last_end(CHANGES)
            await owner.execute(SUBSCRIPTION, [tenant, subscription, kind, parent, limit, START, end, START])
        for day in range(CHANGES + 1):
            for subscription, _, _, limit in family:
                await owner.execute(TERM, [tenant, subscription, START, last_end(day), limit, START + day * DAY])
    await owner.execute(SUBSCRIPTION, ["acme", TRIAL, "TRIAL", None, 3, START, last_end(0), START])
    await owner.execute(TERM, ["acme", TRIAL, START, last_end(0), 3, START])


@pytest.fixture
async def migrated(empty_database: Database) -> Database:
    """A database of the program before with its rows, brought up to this one."""
    async with await connect(empty_database.conninfo(roles.OWNER)) as owner:
        await migrate(owner, shipped()[: RENEWALS - 1], clock=SystemClock())
        await write_old_rows(owner)
        for _ in range(2):
            await migrate(owner, clock=SystemClock())
    return empty_database


def terms_of(database: Database, tenant: str, subscription: str) -> list[tuple[Any, ...]]:
    """Return kind, what is corrected, start and end of its terms, as they were written."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            b"SELECT t.kind, c.kind, c.bought_at, t.term_start, t.term_end FROM subscription_terms AS t"
            b" LEFT JOIN subscription_terms AS c ON (c.tenant_id, c.term_id) = (t.tenant_id, t.corrects_term_id)"
            b" AND c.subscription_id = t.subscription_id"
            b" WHERE t.tenant_id = %s AND t.subscription_id = %s ORDER BY t.term_id",
            [tenant, subscription],
        ).fetchall()


async def test_of_forty_changes_the_first_row_is_what_was_sold_and_the_others_correct_it(migrated: Database) -> None:
    corrected = [("CORRECTED", "SOLD", START, START, last_end(day)) for day in range(1, CHANGES + 1)]
    for tenant in ("acme", "rival"):
        for subscription in (MAIN, ADDON):
            found = terms_of(migrated, tenant, subscription)
            assert found == [("SOLD", None, None, START, last_end(0)), *corrected]
    assert terms_of(migrated, "acme", TRIAL) == [("SOLD", None, None, START, last_end(0))]


async def test_a_subscription_of_then_is_renewed_and_corrected_like_one_of_today(migrated: Database) -> None:
    async with ingest(migrated) as connection:
        request = Request(MAIN, 365, again=True)
        outcome = await renew(connection, "acme", request, BY, key="first", policy=POLICY, trusted=True)
        assert outcome.answer.previous_term_end == last_end(CHANGES)
        end = outcome.answer.new_term_end + DAY
        await store.change(connection, "acme", MAIN, store.Changes(term_end=end), BY, grace=GRACE)
        for subscription in (MAIN, ADDON):
            renewed, correction = terms_of(migrated, "acme", subscription)[-2:]
            assert renewed == ("RENEWED", None, None, last_end(CHANGES), outcome.answer.new_term_end)
            assert correction == ("CORRECTED", "RENEWED", NOW, last_end(CHANGES), end)
        assert len(terms_of(migrated, "rival", MAIN)) == CHANGES + 1, "the other tenant has its own"
        assert await rows(connection, "SELECT count(*) FROM renewal_requests") == [(1,)]


async def test_a_database_without_subscriptions_is_brought_up_as_well(empty_database: Database) -> None:
    async with await connect(empty_database.conninfo(roles.OWNER)) as owner:
        await migrate(owner, shipped()[: RENEWALS - 1], clock=SystemClock())
        await migrate(owner, clock=SystemClock())
        assert await rows(owner, "SELECT count(*) FROM subscription_terms") == [(0,)]
