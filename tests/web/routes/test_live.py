"""The live parts of the pages of routes and integrations, and the log of deliveries below the routes."""

import re
from datetime import UTC, datetime

from appliance.people.role import Role
from tests.support.alerts import add_alert
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.support.web.stand_ins import OPERATOR
from tests.web.alerts.test_live import RESPONDER, page_name, parts


async def test_how_a_route_goes_changes_in_place_and_the_log_follows(database: Database) -> None:
    arrange(database, f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')")
    route = add_route(database, add_integration(database, TENANT, name="Desk"), TENANT, name="All")
    async with over(database) as served:
        name = await page_name(database, served, "/routes")
        before = await parts(served, name)
        assert before[f"r-{route}-delivered"] == "0"
        assert "No deliveries in the last 7 days" in before["delivery-log"]
        add_alert(database, summary="Door open", created_at=datetime.now(UTC))
        arrange(
            database,
            "UPDATE delivery_jobs SET status = 'COMPLETED', finished_at = now()",
        )
        after = await parts(served, name)
        assert after[f"r-{route}-delivered"] == "1"
        assert "Door open Opened, All Delivered" in after["delivery-log"]
        assert after["live-state"].startswith("Live")
        everybody = await parts(served, "routes/list=1", OPERATOR)
        assert everybody[f"r-{route}-delivered"] == "1"
        assert f"r-{route}-delivered" not in await parts(served, "routes/list=1&tenant=rival", OPERATOR)
        assert await parts(served, "routes/tenant=..", OPERATOR) == {}


async def test_the_log_of_an_opened_route_is_its_own(database: Database) -> None:
    arrange(database, f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')")
    receiver = add_integration(database, TENANT, name="Desk")
    one, other = (add_route(database, receiver, TENANT, name=name) for name in ("One", "Other"))
    add_alert(database, summary="Door open", created_at=datetime.now(UTC))
    arrange(
        database,
        f"UPDATE delivery_jobs SET status = 'DEAD', reason = 'refused', finished_at = now() WHERE route_id = '{one}'",
    )
    async with over(database) as served:
        names = {route: await page_name(database, served, f"/routes/{route}") for route in (one, other)}
        logs = {route: (await parts(served, name))["delivery-log"] for route, name in names.items()}
        async with client(served.url, signed_in(database.conninfo(), Role.RESPONDER)) as asking:
            page = (await asking.get("/routes")).text
    assert "Delivery log One All Waiting 0 Dead 1" in logs[one]
    assert "Delivery log Other All Waiting 1 Dead 0" in logs[other]
    assert len(re.findall(r'href="/deliveries\?open=\d+"', page)) >= 2


async def test_the_health_of_an_integration_changes_in_place(database: Database) -> None:
    arrange(database, f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')")
    receiver = add_integration(database, TENANT, name="Desk")
    async with over(database) as served:
        name = await page_name(database, served, "/integrations")
        assert (await parts(served, name))[f"i-{receiver}-health"] == "Never used"
        arrange(
            database,
            "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, last_failure_at,"
            " last_error) SELECT tenant_id, integration_id, 2, now(), now(), 'status: answered 502' FROM integrations",
        )
        found = await parts(served, name, RESPONDER)
        assert found[f"i-{receiver}-health"].startswith("Failing since")
        assert found[f"i-{receiver}-last"] == "nothing yet"
        assert found["n-routes"] == "1 failing"
