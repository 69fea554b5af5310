"""What every page says first: the most severe, two at most, to those concerned and in their words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from appliance.people.role import Role
from appliance.web.page.banners import State, banners_of
from appliance.web.page.nav_counts import NavCounts
from appliance.web.page.no_way_out import NoWayOut
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.stand_ins import OPERATOR

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CUSTOMER = replace(OPERATOR, role=Role.VIEWER, tenant_id="acme")
COUNTS = NavCounts(1, 0, 0, failing=1)
CUT_OFF = replace(COUNTS, way_out=NoWayOut(NOON, NOON, 2, "Desk", 0, 0, 3))
ALL = State(
    OPERATOR, "acme", replace(CUT_OFF, suspended=True), "Postgres is away.", True, NOON.timestamp(), timedelta(days=7)
)
CALM = replace(ALL, counts=NavCounts(1, 0, 0), trouble=None, clock_in_doubt=False)


def titles(state: State) -> list[str]:
    return [one.title for one in banners_of(state)]


def test_two_at_most_and_the_most_severe_first() -> None:
    assert titles(ALL) == ["Postgres is away.", "acme is suspended."]
    served = replace(ALL, trouble=None)
    assert titles(served) == ["acme is suspended.", "The machine's clock is in doubt."]
    alive = replace(served, counts=CUT_OFF)
    assert titles(alive) == ["The machine's clock is in doubt.", "No way out since 12:00."]
    assert titles(replace(alive, clock_in_doubt=False)) == ["No way out since 12:00."]
    assert titles(replace(CALM, counts=COUNTS)) == ["An integration does not deliver its notices."]
    assert titles(CALM) == []


def test_operators_are_told_that_notices_wait_since_a_restore() -> None:
    restored = replace(CALM, counts=NavCounts(1, 0, 0, backup_made_at=NOON))
    [banner] = banners_of(restored)
    assert (banner.title, banner.href) == ("Restored from the backup of 23 Nov 2026, 12:00.", "/system")
    assert "until you say that the old machine is off" in banner.text


def test_each_has_one_button_that_keeps_the_tenant() -> None:
    found = [
        *banners_of(replace(ALL, clock_in_doubt=False)),
        *banners_of(replace(CALM, counts=CUT_OFF)),
        *banners_of(replace(CALM, counts=COUNTS)),
        *banners_of(replace(CALM, clock_in_doubt=True)),
    ]
    assert [one.href for one in found] == [
        "/system",
        "/tenants/acme",
        "/deliveries?state=waiting&tenant=acme",
        "/integrations?tenant=acme",
        "/system",
    ]
    assert all(one.label for one in found)


def test_customers_are_told_what_concerns_them() -> None:
    seen = replace(ALL, who=CUSTOMER)
    assert titles(seen) == ["Postgres is away.", "Your organisation is suspended."]
    assert [one.href for one in banners_of(seen)] == ["", ""]
    assert titles(replace(CALM, who=CUSTOMER, clock_in_doubt=True)) == []


def test_all_that_is_known_without_postgres_is_told() -> None:
    assert titles(replace(ALL, counts=None)) == ["Postgres is away.", "The machine's clock is in doubt."]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_suspended_tenant_is_told_on_its_pages(database: Database, role: Role) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id, status) VALUES"
        f" (now(), now(), '{TENANT}', 'SUSPENDED'), (now(), now(), 'beta', 'ACTIVE')",
    )
    who = signed_in(database.conninfo(), role, TENANT)
    async with dashboard(database) as served, client(served.url, who) as http:
        for path in ("/", "/alerts", "/devices"):
            told = (await http.get(f"{path}?tenant={TENANT}")).text
            assert told.count("is suspended.") == 1, path
        if role is Role.OPERATOR:
            assert "is suspended." not in (await http.get("/alerts?tenant=beta")).text
            assert "is suspended." not in (await http.get("/alerts")).text
