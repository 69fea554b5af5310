"""Alerts of the appliance about itself: on System and in its API, for operators alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import raise_condition
from appliance.devices.tenants import OWN_TENANT
from appliance.people.role import Role
from appliance.severity import Severity
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.tenants import ingest
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard

DISK = "The disk of barn is nearly full"
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


async def raised(database: Database) -> int:
    """Open an alert about the disk; return its id."""
    disk = Condition(OWN_TENANT, "system:disk:i-1", AlertType.SYSTEM, Severity.CRITICAL, DISK)
    async with ingest(database) as connection:
        await raise_condition(connection, disk, AT, reopen_after=timedelta(days=1))
    [(alert_id,)] = look(database, "SELECT id FROM fleet_alert")
    return int(alert_id)


async def test_system_shows_what_is_wrong_with_the_appliance_until_it_is_over(database: Database) -> None:
    alert_id = await raised(database)
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        html = (await browser.get("/system")).text
        assert DISK in html
        assert f'action="/alerts/{alert_id}/acknowledge?tenant=appliance"' in html
        assert f'href="/alerts/{alert_id}/close?tenant=appliance"' in html
    arrange(database, "UPDATE fleet_alert SET status = 'CLOSED', closed_at = now(), close_reason = 'cleared'")
    async with dashboard(database) as served, client(served.url, operator) as browser:
        assert '<div id="sys-alerts" hidden>' in (await browser.get("/system")).text


async def test_operators_work_on_them_by_naming_the_tenant(database: Database) -> None:
    alert_id = await raised(database)
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        (told,) = (await caller.ask("GET", "/operator/system"))["alerts"]
        assert (told["alert_id"], told["severity"], told["summary"]) == (alert_id, "critical", DISK)
        for path in ("/customer/alerts", "/customer/alerts?tenant=appliance"):
            (listed,) = (await caller.ask("GET", path))["items"]
            assert (listed["alert_id"], listed["alert_type"]) == (alert_id, "SYSTEM")
        step = f"/customer/alerts/{alert_id}/acknowledge?tenant=appliance"
        assert (await caller.ask("POST", step, json={"note": "on my way"}))["status"] == "ACKNOWLEDGED"
    async with dashboard(database) as served, client(served.url, signed_in(database.conninfo())) as browser:
        html = (await browser.get("/system")).text
    assert f"acknowledged by {caller.person.email}" in html
    assert "/acknowledge?tenant=appliance" not in html


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_customers_do_not_see_them(database: Database, role: Role) -> None:
    alert_id = await raised(database)
    async with dashboard(database) as served, calling(served, database, role) as caller:
        listed: dict[str, Any] = await caller.ask("GET", "/customer/alerts")
        assert listed["items"] == []
        await caller.ask("GET", f"/customer/alerts/{alert_id}", 404)
        await caller.ask("GET", f"/customer/alerts/{alert_id}?tenant=appliance", 404)


async def test_operators_find_them_in_the_list_and_work_on_them_there(database: Database) -> None:
    alert_id = await raised(database)
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        assert "· This appliance" in (await browser.get("/alerts")).text
        assert DISK in (await browser.get("/alerts?tenant=appliance")).text
        assert DISK in (await browser.get(f"/alerts/{alert_id}?tenant=appliance")).text
        done = await browser.post(f"/alerts/{alert_id}/acknowledge?tenant=appliance")
        assert (done.status_code, done.headers["location"].partition("?")[0]) == (303, f"/alerts/{alert_id}")
        asked = await browser.get(f"/alerts/{alert_id}/close?tenant=appliance")
        assert asked.status_code == 200
        closed = await browser.post(f"/alerts/{alert_id}/close?tenant=appliance", data={"note": "made room"})
        assert closed.status_code == 303
    assert look(database, "SELECT status, close_reason FROM fleet_alert") == [("CLOSED", "closed")]
    assert look(database, "SELECT DISTINCT tenant_id FROM audit_log WHERE object_type = 'alert'") == [("appliance",)]
