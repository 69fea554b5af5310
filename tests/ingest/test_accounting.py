"""Accounting as people read it: exact sums of the ledger, for one tenant or for all."""

from datetime import UTC, datetime

from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.ingest.accounting import Accounting, read_accounting
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import customer

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def _fill(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id)"
        " VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
        "INSERT INTO ingest_ledger"
        " (minute, instance, tenant_id, received, stored, refused, duplicate, cleared, qos0, replayed)"
        " VALUES ('2026-01-01T12:00Z', 'a', 'acme', 12, 7, 2, 1, 2, 3, 0), "
        " ('2026-01-02T12:00Z', 'a', 'acme', 5, 5, 0, 0, 0, 0, 4),"
        " ('2026-01-02T12:00Z', 'b', 'rival', 8, 0, 8, 0, 0, 0, 0),"
        " ('2026-01-02T12:00Z', 'b', '', 1, 0, 1, 0, 0, 0, 0)",
    )


async def test_operators_see_the_accounting_of_all_tenants_and_instances(database: Database) -> None:
    _fill(database)
    async with await connect(database.conninfo(INGEST)) as connection:
        whole = await read_accounting(connection, None)
        assert whole == Accounting(26, 12, 11, 1, 2, 3, 4, 0, 0, datetime(2026, 1, 1, 12, tzinfo=UTC))
        assert whole.balanced
        assert (await read_accounting(connection, (NOON, LATER))).received == 14
        assert await read_accounting(connection, (LATER, LATER)) == Accounting(0, 0, 0, 0, 0, 0, 0, 0, 0, None)


async def test_what_a_wrong_clock_counted_ahead_is_of_all_time_and_not_of_today(database: Database) -> None:
    _fill(database)
    arrange(
        database,
        "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored)"
        " VALUES ('2036-11-27T12:00Z', 'a', 'acme', 100, 100)",
    )
    async with await connect(database.conninfo(INGEST)) as connection:
        assert (await read_accounting(connection, (NOON, LATER))).received == 14
        assert (await read_accounting(connection, None)).received == 126


async def test_a_customer_sees_its_own_accounting(database: Database) -> None:
    _fill(database)
    async with customer(database, "acme") as connection:
        assert (await read_accounting(connection, None)).received == 17


def test_accounting_that_does_not_balance_says_so() -> None:
    assert not Accounting(10, 5, 4, 0, 0, 0, 0, 0, 0, None).balanced
    assert Accounting(10, 5, 4, 0, 1, 0, 0, 0, 0, None).balanced
