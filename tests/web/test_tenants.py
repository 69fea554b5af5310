"""Tenants, for operators: pages and API."""

import re

import psycopg

from appliance.people.role import Role
from tests.postgres_server import Database
from tests.web.people import client, signed_in
from tests.web.told import calling, dashboard


async def test_a_tenant_is_added_and_its_claim_password_shown_once(database: Database) -> None:
    operator = signed_in(database.conninfo())
    new = {"tenant_id": "norrvik", "name": "Norrvik", "time_zone": "Europe/Oslo", "provisioning": "approve"}
    async with dashboard(database) as served, client(served.url, operator) as browser:
        made = await browser.post("/tenants/new", data=new)
        assert made.status_code == 201
        password = re.search(r'id="claim-password"[^>]*>([^<]+)<', made.text)
        assert password is not None
        page = (await browser.get("/tenants/norrvik")).text
        assert "Norrvik" in page
        assert password[1] not in page
        assert "Held for approval" in (await browser.get("/tenants")).text
        assert "No tenant fits" in (await browser.get("/tenants?q=globex")).text
        twice = await browser.post("/tenants/new", data=new)
        assert (twice.status_code, "is there already" in twice.text) == (422, True)
        wrong = await browser.post("/tenants/new", data={**new, "tenant_id": "a/b"})
        assert (wrong.status_code, 'value="a/b"' in wrong.text, 'aria-invalid="true"' in wrong.text) == (
            422,
            True,
            True,
        )
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT time_zone FROM tenants").fetchall() == [("Europe/Oslo",)]
        told = connection.execute("SELECT actor, action FROM audit_log WHERE tenant_id = 'norrvik'").fetchall()
    assert told == [(operator.email, "tenant.create")]


async def test_suspend_resume_provisioning_and_claim_on_the_page(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        await browser.post("/tenants/new", data={"tenant_id": "acme", "time_zone": "UTC"})
        assert (await browser.post("/tenants/acme/suspend")).headers["location"] == "/tenants/acme?done=suspended"
        assert "Its messages are refused" in (await browser.get("/tenants/acme")).text
        assert (await browser.post("/tenants/acme/resume")).status_code == 303
        assert (await browser.post("/tenants/acme/provisioning", data={"provisioning": "off"})).status_code == 303
        assert (await browser.post("/tenants/acme/provisioning", data={"provisioning": "maybe"})).status_code == 400
        assert (await browser.post("/tenants/acme/claim", data={"enabled": "off"})).status_code == 303
        page = (await browser.get("/tenants/acme")).text
        assert "Closed" in page
        assert '<option value="off" selected>' in page
        assert "claim-password" in (await browser.post("/tenants/acme/rotate-claim")).text
        for path in ("/tenants/never", "/tenants/.bad"):
            assert (await browser.get(path)).status_code == 404
            assert (await browser.post(f"{path}/suspend")).status_code == 404


async def test_the_api_does_the_same(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        made = await caller.ask("POST", "/operator/tenants", 201, json={"tenant_id": "norrvik"})
        assert made["claim_username"] == "norrvik"
        again = await caller.ask("POST", "/operator/tenants/norrvik/rotate-claim")
        assert again["claim_password"] != made["claim_password"]
        changed = await caller.ask(
            "PATCH",
            "/operator/tenants/norrvik",
            json={"status": "SUSPENDED", "provisioning": "off", "claim_enabled": False},
        )
        assert (changed["status"], changed["provisioning"], changed["claim_enabled"]) == ("SUSPENDED", "off", False)
        assert [tenant["tenant_id"] for tenant in (await caller.ask("GET", "/operator/tenants"))["items"]] == [
            "norrvik"
        ]
        for bad, field in (({"tenant_id": ".a"}, "tenant_id"), ({"tenant_id": "a", "time_zone": "Mars"}, "time_zone")):
            assert (await caller.ask("POST", "/operator/tenants", 400, json=bad))["field"] == field
        await caller.ask("GET", "/operator/tenants/never", 404)
        await caller.ask("POST", "/operator/tenants", 409, json={"tenant_id": "norrvik"})


async def test_customers_have_no_such_page(database: Database) -> None:
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        assert (await browser.get("/tenants")).status_code == 403
        refused = await browser.get("/operator/tenants/acme")
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
