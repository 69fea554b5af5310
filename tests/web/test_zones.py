"""Time zones as people name them: forms and the API store present names, and refuse what is none with the mend."""

import re
from datetime import UTC, datetime
from typing import Any

import psycopg

from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.onboarding import PATH, open_set_up
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.routes import add_integration
from tests.support.web.accounts import TENANT, client, signed_in
from tests.support.web.api_caller import Caller, calling, dashboard
from tests.support.web.browsing import browsing

WASH = {"name": "Wash", "kind": "weekly", "weekdays": ["sun"], "start_time": "22:00", "length_minutes": 60}
COLUMNS = {
    "tenants": "time_zone",
    "sites": "time_zone",
    "maintenance_windows": "time_zone",
    "integration_routes": "quiet_zone",
    "users": "time_zone",
}
NO_SUCH = "no such time zone; choose one by its name, for example europe/oslo"


async def ask_all(operator: Caller, admin: Caller, integration: str, zone: str, statuses: list[int]) -> list[Any]:
    """Name a zone wherever a program can: of a tenant, a site, a window, a route and the caller; return the answers."""
    quiet = {"begins": "22:00", "ends": "06:00", "zone": zone}
    route = {"name": "Night", "integration_id": integration, "severities": ["high"], "quiet_hours": quiet}
    return [
        await operator.ask("POST", "/operator/tenants", statuses[0], json={"tenant_id": "fjord", "time_zone": zone}),
        await admin.ask("POST", "/customer/sites", statuses[0], json={"site_id": "hall", "time_zone": zone}),
        await admin.ask("POST", "/customer/maintenance", statuses[0], json={**WASH, "time_zone": zone}),
        await admin.ask("POST", "/customer/integration-routes", statuses[0], json=route),
        await admin.ask("PATCH", "/customer/me", statuses[1], json={"time_zone": zone}),
    ]


def stored(database: Database) -> list[str]:
    query = (
        "SELECT time_zone FROM tenants WHERE tenant_id = 'fjord' UNION ALL SELECT time_zone FROM sites"
        " UNION ALL SELECT time_zone FROM maintenance_windows UNION ALL SELECT quiet_zone FROM integration_routes"
        " UNION ALL SELECT time_zone FROM users WHERE time_zone IS NOT NULL"
    )
    with psycopg.connect(database.conninfo()) as connection:
        return [zone for (zone,) in connection.execute(query.encode()).fetchall()]


async def test_programs_may_name_a_zone_by_an_old_name_and_in_any_case(database: Database) -> None:
    async with (
        dashboard(database) as served,
        calling(served, database, Role.OPERATOR) as operator,
        calling(served, database, Role.ADMIN) as admin,
    ):
        integration = str(add_integration(database, TENANT, name="Desk"))
        for wrong in ("localtime", "../etc/passwd", "right/Europe/Oslo"):
            refused = await ask_all(operator, admin, integration, wrong, [400, 400])
            assert all(NO_SUCH in answer["detail"].lower() for answer in refused), refused
            assert {answer["field"] for answer in refused} == {"time_zone", "quiet_hours.zone"}
        assert stored(database) == []
        await ask_all(operator, admin, integration, "us/EASTERN", [201, 200])
        assert stored(database) == ["America/New_York"] * 5


async def test_a_form_stores_the_present_name_and_offers_only_such(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        new = {"tenant_id": "fjord", "name": "Fjord", "time_zone": "Europe/Kiev", "provisioning": "auto"}
        assert (await browser.post("/tenants/+new", data=new)).status_code == 201
        assert stored(database) == ["Europe/Kyiv"]
        form = (await browser.get("/tenants/fjord/edit")).text
        assert '<option value="Europe/Kyiv" selected>' in form
        assert 'value="Europe/Kiev"' not in form
        assert 'value="localtime"' not in form


async def test_a_zone_that_the_machine_has_lost_is_named_and_in_nobodys_way(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        new = {"tenant_id": "fjord", "name": "Fjord", "time_zone": "Europe/Oslo", "provisioning": "auto"}
        await browser.post("/tenants/+new", data=new)
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute("UPDATE tenants SET time_zone = 'Europe/Atlantis' WHERE tenant_id = 'fjord'")
        remark = "Europe/Atlantis (unknown to this machine, which uses its own zone instead)"
        for path in ("/tenants/fjord", "/tenants/fjord/edit"):
            page = await browser.get(path)
            assert (page.status_code, remark in page.text) == (200, True), path
        for path in ("/?tenant=fjord", "/maintenance?tenant=fjord", "/devices?tenant=fjord", "/tenants"):
            assert (await browser.get(path)).status_code == 200, path
        fields = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', page.text))
        form = new | fields | {"time_zone": "Europe/Atlantis", "name": "Fjord and sons"}
        assert (await browser.post("/tenants/fjord/edit", data=form)).status_code == 303, "it is in nobody's way"
        assert stored(database) == ["Europe/Atlantis"]
        refused = await browser.patch("/operator/tenants/fjord", json={"time_zone": "Europe/Lemuria"})
        assert (refused.status_code, refused.json()["field"]) == (400, "time_zone")


async def test_whatever_has_a_lost_zone_can_be_changed_in_everything_else(database: Database) -> None:
    async with (
        dashboard(database) as served,
        calling(served, database, Role.OPERATOR) as operator,
        calling(served, database, Role.ADMIN) as admin,
    ):
        integration = str(add_integration(database, TENANT, name="Desk"))
        made = await ask_all(operator, admin, integration, "Europe/Oslo", [201, 200])
        with psycopg.connect(database.conninfo()) as connection:
            for table, column in COLUMNS.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = 'Europe/Atlantis' WHERE {column} = 'Europe/Oslo'".encode()
                )
        name = {"name": "Another"}
        await operator.ask("PATCH", "/operator/tenants/fjord", json={"status": "SUSPENDED"})
        await admin.ask("PATCH", "/customer/sites/hall", json=name)
        await admin.ask("PATCH", f"/customer/maintenance/{made[2]['window_id']}", json=name)
        await admin.ask("PATCH", f"/customer/integration-routes/{made[3]['route_id']}", json=name)
        await admin.ask("PATCH", "/customer/me", json=name)
        assert stored(database) == ["Europe/Atlantis"] * 5


async def test_the_set_up_page_knows_the_old_names_by_which_browsers_call_a_zone(database: Database) -> None:
    async with dashboard(database) as served, await connect(database.conninfo(INGEST)) as connection:
        secret = await open_set_up(connection, datetime.now(UTC))
        async with browsing(served) as browser:
            page = (await browser.get(f"{PATH}{secret}")).text
    assert re.search(r'<option data-was="[^"]*Asia/Calcutta[^"]*">Asia/Kolkata</option>', page)
    assert re.search(r"<option[^>]* selected>UTC</option>", page)
