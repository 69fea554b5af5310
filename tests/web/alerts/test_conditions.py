"""The page of an alert that no device's reading caused: its cause, its changes, and where to deal with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.capacity import capacity_condition
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import raise_condition
from appliance.devices.tenants import OWN_TENANT
from appliance.people.role import Role
from appliance.renewals.warnings import condition as ending
from appliance.severity import Severity
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.tenants import GRACE, add_tenant, ingest
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard

NOW = datetime.now(UTC)
FULL, WAITING = capacity_condition("acme", 10, 10, 0), capacity_condition("acme", 10, 10, 30)
APPROVAL = Condition("acme", "approval", AlertType.APPROVAL, Severity.LOW, "3 devices wait for approval", {"value": 3})


async def page(
    database: Database, *conditions: Condition | None, operator: bool = False, role: Role = Role.VIEWER
) -> str:
    """The page of the alert that these conditions, one after the other, opened."""
    async with ingest(database) as connection:
        await add_tenant(connection)
        for condition in conditions:
            assert condition is not None
            await raise_condition(connection, condition, NOW, reopen_after=timedelta(days=1))
    [(alert_id, tenant)] = look(database, "SELECT id, tenant_id FROM fleet_alert")
    person = signed_in(database.conninfo(), Role.OPERATOR if operator else role)
    async with dashboard(database) as served, client(served.url, person) as browser:
        shown = await browser.get(f"/alerts/{alert_id}" + (f"?tenant={tenant}" if operator else ""))
    assert shown.status_code == 200
    return shown.text


async def test_seats_that_fill_up_are_told_with_their_number_and_what_changed(database: Database) -> None:
    html = await page(database, FULL, WAITING)
    assert "limit 10" in html or ">10<" in html
    assert html.count("30 devices wait for a seat: all 10 seats are in use") >= 2, "as its title, and in the timeline"
    assert "/quarantine?reason=NO_SUBSCRIPTION_CAPACITY" in html


async def test_devices_that_wait_for_approval_are_a_click_away(database: Database) -> None:
    assert "/devices?status=PENDING" in await page(database, APPROVAL)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
async def test_a_subscription_that_ends_is_a_click_away_and_its_renewal_for_those_who_may(
    database: Database, role: Role
) -> None:
    start, end = NOW - timedelta(days=335), NOW + timedelta(days=30)
    kind, status = SubscriptionType.MAIN, SubscriptionStatus.ACTIVE
    row = Subscription("SUB-1", "acme", kind, None, 9, 3, start, end, status, description="Hall 3")
    html = await page(database, ending(row, 30, UTC, GRACE), role=role)
    assert f"The last full day of subscription Hall 3 is {end - timedelta(days=1):%-d %b %Y}" in html
    assert 'href="/subscriptions/SUB-1"' in html
    assert ('href="/subscriptions/SUB-1/renew"' in html) is (role is Role.ADMIN)


@pytest.mark.parametrize("cause", ["nothing was stored for 6 s: the disk is full", "<script>"])
async def test_the_cause_of_what_is_wrong_with_the_appliance_is_told_to_operators(
    database: Database, cause: str
) -> None:
    about = {"appliance": "barn", "cause": cause}
    storing = Condition(
        OWN_TENANT, "system:storing:i", AlertType.SYSTEM, Severity.CRITICAL, "Messages to barn are not stored", about
    )
    html = await page(database, replace(storing, count=1), operator=True)
    assert cause.replace("<", "&lt;").replace(">", "&gt;") in html
    assert 'href="/system"' in html
