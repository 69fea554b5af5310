"""Devices that a renewal on fewer seats names wrongly: refused with what is needed, and nothing else (P18, P19)."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from appliance.db.trio_psycopg import Connection
from appliance.errors import NotFound
from appliance.renewals.plan import Refusal, Request
from appliance.renewals.renewal import DevicesNeeded, preview, renew
from tests.renewals.family import ACTIVE, DAY, ENDS, FEWER, LIMIT, MAIN, OTHER, POLICY, column, end_of, found
from tests.support.postgres_server import Database
from tests.support.tenants import BY, NOW, TENANT, customer, ingest

RIVAL = "rival"
WRONG = {
    "none": (),
    "too few": ("a1",),
    "too many": ("a1", "a2", "a3"),
    "all": ACTIVE,
    "repeated": ("a1", "a1"),
    "repeated, beside enough": ("a1", "a2", "a2"),
    "inactive": ("a1", "i1"),
    "pending": ("a1", "p1"),
    "of another subscription": ("a1", "o1"),
    "of nobody": ("a1", "nobody"),
    "of another tenant": ("a1", "theirs"),
    "of another tenant only": ("theirs", "theirs2"),
    "empty": ("a1", ""),
    "no text of Postgres": ("a1", "a\x00"),
    "no text at all": ("a1", "\udc80"),
    "no id": ("a1", "a/../2"),
    "other case": ("a1", "A2"),
    "very long": ("a1", "a" * 100_000),
    "a thousand": tuple(f"x{number}" for number in range(1000)),
}


async def refused(connection: Connection[Any], named: tuple[str, ...], tenant_id: str = TENANT) -> DevicesNeeded:
    """Ask with these devices; return why not."""
    request = replace(FEWER, devices_to_deactivate=named)
    with pytest.raises(DevicesNeeded) as error:
        await renew(connection, tenant_id, request, BY, key="key", policy=POLICY, trusted=True)
    return error.value


@pytest.fixture
def two_tenants(database: Database) -> Database:
    """Two tenants of the same making; the devices of the other are called otherwise."""
    with psycopg.connect(database.conninfo()) as connection:
        found(connection, TENANT)
        found(connection, RIVAL)
        for old, new in (("a1", "theirs"), ("a2", "theirs2")):
            connection.execute(b"DELETE FROM device_credentials WHERE tenant_id = 'rival' AND device_id = %s", [old])
            connection.execute(
                b"UPDATE device_registry SET device_id = %s WHERE tenant_id = 'rival' AND device_id = %s", [new, old]
            )
    return database


async def test_wrong_devices_are_refused_with_what_is_needed_and_nothing_is_changed(two_tenants: Database) -> None:
    async with ingest(two_tenants) as operator:
        for what, named in WRONG.items():
            async with customer(two_tenants, TENANT) as own:
                error = await refused(own, named)
            assert (error.field, error.needed) == ("devices_to_deactivate", 2), what
            assert "exactly 2 different devices" in str(error), what
            assert "5 are active, and 3 seats were asked for" in str(error), what
            assert len(str(error)) < 1000, what
            assert [one.device_id for one in error.choices] == list(ACTIVE), "the candidates are the tenant's own"
            assert str(await refused(operator, named)) == str(error), "an operator is told the same"
            request = replace(FEWER, devices_to_deactivate=named)
            shown = await preview(operator, TENANT, request, NOW, policy=POLICY)
            assert isinstance(shown.outcome, Refusal)
            assert (shown.outcome.message, shown.version) == (str(error), None), "the preview says the same"
    with psycopg.connect(two_tenants.conninfo()) as connection:
        assert end_of(connection, TENANT) == end_of(connection, RIVAL) == ENDS
        assert column(
            connection, "SELECT DISTINCT device_limit FROM subscriptions WHERE subscription_id = %s", MAIN
        ) == [LIMIT]
        for table in ("audit_log", "renewal_requests", "subscription_audit"):
            assert column(connection, f"SELECT count(*) FROM {table}") == [0], table
        assert column(connection, "SELECT count(*) FROM device_credentials") == [2 * len(ACTIVE) - 2]
        stopped = column(connection, "SELECT device_id FROM device_registry WHERE status = 'INACTIVE'")
        assert stopped == ["i1", "i1"]


async def test_what_is_said_of_another_tenants_device_is_what_is_said_of_none(two_tenants: Database) -> None:
    async with customer(two_tenants, TENANT) as own:
        theirs = await refused(own, ("a1", "theirs"))
        nobodys = await refused(own, ("a1", "nobody"))
        assert str(theirs).replace("theirs", "nobody") == str(nobodys)
        with pytest.raises(NotFound):
            await renew(own, TENANT, Request("SUB-20260101-99999", 30), BY, key=None, policy=POLICY, trusted=True)
        with pytest.raises(NotFound):
            await renew(own, RIVAL, Request(MAIN, 30), BY, key=None, policy=POLICY, trusted=True)


async def test_after_so_many_refusals_the_right_ones_are_taken_under_the_same_key(two_tenants: Database) -> None:
    async with customer(two_tenants, TENANT) as own:
        await refused(own, ("a1", "a1"))
        outcome = await renew(own, TENANT, FEWER, BY, key="key", policy=POLICY, trusted=True)
        assert outcome.answer.devices_deactivated == ["a2", "a4"]
        other = await renew(own, TENANT, Request(OTHER, 30), BY, key="own", policy=POLICY, trusted=True)
        assert other.answer.new_term_end == ENDS + 30 * DAY
    with psycopg.connect(two_tenants.conninfo()) as connection:
        assert end_of(connection, RIVAL) == ENDS
