"""Tenants, for operators: pages and API."""

import csv
import io
import re
from typing import Any

import httpx
import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import Caller, calling, dashboard

BAD_SETTINGS = [
    ({"time_zone": "Mars/Base"}, "time_zone"),
    ({"name": "x" * 257}, "name"),
    ({"name": "a\u0000b"}, "name"),
    ({"rate": "NaN"}, "rate"),
    ({"rate": "0"}, "rate"),
    ({"rate": "1e400"}, "rate"),
    ({"burst": "1.5"}, "burst"),
    ({"burst": "+-5"}, "burst"),
    ({"tenant_rate": "-1"}, "tenant_rate"),
    ({"provisioning": "maybe"}, "provisioning"),
]


def entries_of(database: Database, tenant_id: str = "norrvik") -> list[tuple[str, Any, Any]]:
    """Return the entries of the audit about a tenant."""
    with psycopg.connect(database.conninfo()) as connection:
        query = (
            "SELECT action, before, after FROM audit_log WHERE tenant_id = %s AND object_type = 'tenant' ORDER BY id"
        )
        return connection.execute(query.encode(), [tenant_id]).fetchall()


async def settings(browser: httpx.AsyncClient, tenant_id: str = "norrvik") -> dict[str, str]:
    """Return the fields of a tenant's form."""
    page = (await browser.get(f"/tenants/{tenant_id}/edit")).text
    fields = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', page))
    chosen = re.findall(r'<select[^>]* name="(\w+)".*?<option value="([^"]*)" selected>', page, re.DOTALL)
    return {name: value for name, value in (fields | dict(chosen)).items() if name not in {"csrf_token", "q"}}


async def test_a_tenant_is_added_and_its_claim_password_shown_once(database: Database) -> None:
    operator = signed_in(database.conninfo())
    new = {"tenant_id": "norrvik", "name": "Norrvik", "time_zone": "Europe/Oslo", "provisioning": "approve"}
    async with dashboard(database) as served, client(served.url, operator) as browser:
        assert "There are no tenants yet." in (await browser.get("/tenants")).text
        made = await browser.post("/tenants/+new", data={**new, "status": "SUSPENDED", "rate": "1"})
        assert made.status_code == 201
        password = re.search(r'id="claim-password"[^>]*>([^<]+)<', made.text)
        assert password is not None
        page = (await browser.get("/tenants/norrvik")).text
        assert "Norrvik" in page
        assert password[1] not in page
        assert "Suspended" not in page, "what is not asked for is not set"
        assert "Held for approval" in (await browser.get("/tenants")).text
        twice = await browser.post("/tenants/+new", data=new)
        assert (twice.status_code, "already exists" in twice.text) == (409, True)
        for change, text in (
            ({"tenant_id": "a/b"}, "A tenant id has 1 to 64"),
            ({"tenant_id": "appliance"}, "taken by the appliance"),
            ({"tenant_id": "x", "time_zone": "Mars"}, "There is no such time zone; choose one"),
        ):
            wrong = await browser.post("/tenants/+new", data=new | change)
            assert (wrong.status_code, text in wrong.text, 'value="Norrvik"' in wrong.text) == (422, True, True)
    assert entries_of(database) == [("tenant.create", None, {"status": "ACTIVE", "provisioning": "approve"})]


async def test_settings_are_saved_as_one_change_each_and_recorded(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        await browser.post("/tenants/+new", data={"tenant_id": "norrvik"})
        given = await settings(browser)
        wanted = given | {"name": "Norrvik", "provisioning": "off", "rate": "2,5", "burst": "7", "tenant_rate": "0"}
        saved = await browser.post("/tenants/norrvik/edit", data=wanted)
        assert saved.headers["location"] == "/tenants/norrvik?done=changed"
        page = (await browser.get("/tenants/norrvik?done=changed")).text
        assert [
            text for text in ("The tenant is saved.", "2.5 messages/s", "7 messages", "No limit") if text not in page
        ] == []
        again = await settings(browser)
        assert {name: again[name] for name in ("name", "rate", "burst", "tenant_rate")} == {
            "name": "Norrvik", "rate": "2.5", "burst": "7", "tenant_rate": "0",
        }  # fmt: skip
        await browser.post("/tenants/norrvik/edit", data=again)
    assert entries_of(database)[1:] == [
        ("tenant.describe", {"name": None, "time_zone": "UTC"}, {"name": "Norrvik", "time_zone": "UTC"}),
        (
            "tenant.limit",
            {"rate": None, "burst": None, "tenant_rate": None},
            {"rate": 2.5, "burst": 7, "tenant_rate": 0},
        ),
        ("tenant.provisioning", {"provisioning": "auto"}, {"provisioning": "off"}),
    ]


async def test_settings_that_cannot_be_come_back_filled_in_and_change_nothing(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        await browser.post("/tenants/+new", data={"tenant_id": "norrvik"})
        given = await settings(browser)
        for wrong, field in BAD_SETTINGS:
            answer = await browser.post("/tenants/norrvik/edit", data=given | {"burst": "3"} | wrong)
            assert (answer.status_code, f'href="#f-{field}"' in answer.text) == (422, True), wrong
            assert field == "burst" or 'value="3"' in answer.text
        assert (await browser.post("/tenants/norrvik/edit", data=given | {"version": "soon"})).status_code == 422
        assert (await browser.post("/tenants/norrvik/edit", json={"name": 5})).status_code == 422
        assert await settings(browser) == given
    assert len(entries_of(database)) == 1


async def test_of_two_who_edit_the_second_is_refused(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        await browser.post("/tenants/+new", data={"tenant_id": "norrvik"})
        given = await settings(browser)
        assert (await browser.post("/tenants/norrvik/edit", data=given | {"name": "First"})).status_code == 303
        late = await browser.post("/tenants/norrvik/edit", data=given | {"name": "Second"})
        assert (late.status_code, "was changed by someone else" in late.text, 'value="Second"' in late.text) == (
            409,
            True,
            True,
        )
        assert (await settings(browser))["name"] == "First"


async def test_each_step_is_asked_for_and_taken_once(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        await browser.post("/tenants/+new", data={"tenant_id": "norrvik"})
        for step, effect, shown in (
            ("suspend", "none is held for replay", "This tenant is suspended."),
            ("resume", "accepted again", "Suspend…"),
            ("close-claim", "no new device can register itself", "Open…"),
            ("open-claim", "claim password", "Close…"),
        ):
            assert effect in (await browser.get(f"/tenants/norrvik/{step}")).text
            for _ in range(2):
                taken = await browser.post(f"/tenants/norrvik/{step}")
                assert taken.headers["location"] == f"/tenants/norrvik?done={step}"
            assert shown in (await browser.get("/tenants/norrvik")).text
        assert "stops working at once" in (await browser.get("/tenants/norrvik/rotate-claim")).text
        assert "claim-password" in (await browser.post("/tenants/norrvik/rotate-claim")).text
        for path in ("/tenants/never", "/tenants/.bad", "/tenants/%00"):
            for step in ("", "/edit", "/suspend", "/rotate-claim", "/subscriptions/+new"):
                assert (await browser.get(path + step)).status_code in {400, 404}
            for step in ("/edit", "/suspend", "/rotate-claim", "/subscriptions/+new"):
                assert (await browser.post(path + step)).status_code in {400, 404}
    assert [action for action, _, _ in entries_of(database)] == [
        "tenant.create", "tenant.suspend", "tenant.resume", "tenant.claim", "tenant.claim", "tenant.rotate_claim",
    ]  # fmt: skip


async def test_the_list_shows_seats_devices_and_the_last_message_and_is_found_by_part(database: Database) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO tenants (created_at, updated_at, tenant_id, name)"
            " VALUES (now(), now(), 'norrvik', 'Cold chain'), (now(), now(), 'globex', '=1+1')"
        )
        connection.execute(
            "INSERT INTO subscriptions"
            " (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start, term_end,"
            " status) VALUES"
            " (now(), 'SUB-' || nextval('subscription_numbers'), 'norrvik', 'MAIN', 40, now() "
            " - '9 d'::interval, now() + '9 d'::interval, 'ACTIVE'),"
            " (now(), 'SUB-' || nextval('subscription_numbers'), 'norrvik', 'TRIAL', 5, now() "
            " - '9 d'::interval, now() - '1 d'::interval, 'TRIAL')"
        )
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
            ""
            " SELECT now(), now(), 'norrvik', 'pump', 'ACTIVE', subscription_id FROM subscriptions"
            " WHERE subscription_type = 'MAIN'"
        )
        connection.execute(
            "INSERT INTO device_state (tenant_id, device_id, last_heard_at)"
            " VALUES ('norrvik', 'pump', '2026-11-20T10:00Z')"
        )
    operator = signed_in(database.conninfo())
    async with (
        dashboard(database) as served,
        client(served.url, operator) as browser,
        calling(served, database, Role.OPERATOR) as caller,
    ):
        (found,) = (await caller.ask("GET", "/operator/tenants?q=COLD"))["items"]
        assert (found["devices"], found["seats_used"], found["seats_limit"]) == (1, 1, 40)
        assert found["last_heard_at"].startswith("2026-11-20T10:00:00")
        page = (await browser.get("/tenants?q=cold")).text
        assert "1 of 40 seats in use" in page
        assert 'href="/?tenant=norrvik"' in page
        assert "globex" not in page
        assert "No tenants match" in (await browser.get("/tenants?status=SUSPENDED")).text
        for wrong, field in (("status=GONE", "status"), ("cursor=x", "cursor"), ("q=" + "x" * 201, "q")):
            assert (await browser.get(f"/tenants?{wrong}")).status_code == 400
            assert (await caller.ask("GET", f"/operator/tenants?{wrong}", 400))["field"] == field
        by_page = await browser.get("/tenants?format=csv")
        by_api = await caller.raw("GET", "/operator/tenants", headers={"Accept": "text/csv"})
    assert by_page.text == by_api.text
    rows = list(csv.DictReader(io.StringIO(by_page.text.removeprefix("\ufeff"))))
    assert [(row["tenant_id"], row["name"], row["devices"]) for row in rows] == [
        ("globex", "'=1+1", "0"), ("norrvik", "Cold chain", "1"),
    ]  # fmt: skip


async def test_the_api_pages_through_tenants(database: Database) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO tenants (created_at, updated_at, tenant_id)"
            " SELECT now(), now(), 't' || n FROM generate_series(1, 7) AS n"
        )
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        seen, cursor = [], ""
        while True:
            page = await caller.ask("GET", f"/operator/tenants?limit=3&cursor={cursor}")
            seen += [tenant["tenant_id"] for tenant in page["items"]]
            if page["next"] is None:
                break
            cursor = page["next"]
        assert seen == [f"t{number}" for number in range(1, 8)]
        await caller.ask("GET", "/operator/tenants?limit=1001", 400)


async def changed(caller: Caller, answer: int = 200, /, **change: Any) -> Any:
    """The answer to a change of the tenant."""
    return await caller.ask("PATCH", "/operator/tenants/norrvik", answer, json=change)


async def test_the_api_does_the_same(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        made = await caller.ask("POST", "/operator/tenants", 201, json={"tenant_id": "norrvik"})
        assert made["claim_username"] == "norrvik"
        again = await caller.ask("POST", "/operator/tenants/norrvik/rotate-claim")
        assert again["claim_password"] != made["claim_password"]
        seen = await changed(caller, status="SUSPENDED", provisioning="off", claim_enabled=False, rate=4, burst=9)
        assert (seen["status"], seen["provisioning"], seen["claim_enabled"]) == ("SUSPENDED", "off", False)
        assert (seen["rate"], seen["burst"], seen["tenant_rate"]) == (4, 9, None)
        assert (await changed(caller, rate=None))["rate"] is None
        assert (await changed(caller, 409, name="x", version=seen["version"]))["code"] == "CONFLICT"
        assert (await caller.ask("POST", "/operator/tenants/norrvik/resume"))["status"] == "ACTIVE"
        assert (await caller.ask("POST", "/operator/tenants/norrvik/suspend"))["status"] == "SUSPENDED"
        opened = await caller.ask("POST", "/operator/tenants/norrvik/claim", json={"enabled": True})
        assert opened["claim_enabled"] is True
        for bad, field in (
            ({"tenant_id": ".a"}, "tenant_id"),
            ({"tenant_id": "a", "time_zone": "Mars"}, "time_zone"),
            ({"tenant_id": "a", "name": "a\nb"}, "name"),
            ({"tenant_id": "a", "status": "SUSPENDED"}, "status"),
        ):
            assert (await caller.ask("POST", "/operator/tenants", 400, json=bad))["field"] == field
        for wrong, field in (
            ({"rate": 0}, "rate"),
            ({"burst": 2_000_000}, "burst"),
            ({"tenant_rate": -1}, "tenant_rate"),
            ({"name": "x" * 257}, "name"),
            ({"tenant_id": "other"}, "tenant_id"),
            ({"status": "GONE"}, "status"),
        ):
            assert (await changed(caller, 400, **wrong))["field"] == field
        await caller.ask("GET", "/operator/tenants/never", 404)
        await caller.ask("POST", "/operator/tenants/never/suspend", 404)
        await caller.ask("POST", "/operator/tenants", 409, json={"tenant_id": "norrvik"})


async def test_a_change_that_cannot_be_whole_is_not_made_in_part(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        await caller.ask("POST", "/operator/tenants", 201, json={"tenant_id": "norrvik"})
        await changed(caller, 400, name="Half", rate=0, status="SUSPENDED")
        seen = await caller.ask("GET", "/operator/tenants/norrvik")
    assert (seen["name"], seen["status"]) == (None, "ACTIVE")
    assert len(entries_of(database)) == 1


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_customers_have_no_such_page(database: Database, role: Role) -> None:
    person = signed_in(database.conninfo(), role)
    async with dashboard(database) as served, client(served.url, person) as browser:
        for path in ("/tenants", "/tenants/acme", "/tenants/acme/edit"):
            assert (await browser.get(path)).status_code == 403
        for path in ("/operator/tenants/acme", "/operator/subscriptions"):
            refused = await browser.get(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")


async def test_an_operator_who_looks_at_one_tenant_goes_on_looking_at_it(database: Database) -> None:
    operator = signed_in(database.conninfo())
    signed_in(database.conninfo(), Role.VIEWER)
    async with dashboard(database) as served, client(served.url, operator) as browser:
        page = (await browser.get("/devices?tenant=acme")).text
        everything = (await browser.get("/devices")).text
        chosen = (await browser.get("/tenants?tenant=acme")).text
    assert 'class="tenant" href="/tenants?tenant=acme"' in page
    assert re.search(r'class="sel">\s*<td[^>]*><a class="title" href="/tenants/acme"', chosen)
    assert "View all tenants" in chosen
    for path in ("/", "/devices", "/sites", "/audit"):
        assert f'<a href="{path}?tenant=acme"' in page
        assert f'<a href="{path}"' in everything
    assert '<a href="/system"' in page, "the appliance as a whole is no tenant's"


async def test_the_appliances_own_tenant_is_on_no_page_and_nobody_changes_it(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, client(served.url, operator) as browser:
        assert "There are no tenants yet." in (await browser.get("/tenants")).text
        assert "This appliance" not in (await browser.get("/tenants?q=appliance")).text
        for page in ("/tenants/appliance", "/tenants/appliance/edit", "/tenants/appliance/subscriptions/+new"):
            assert (await browser.get(page)).status_code == 404, page
        for step in ("suspend", "resume", "claim", "rotate-claim", "edit"):
            answer = await browser.post(f"/tenants/appliance/{step}", data={"name": "Mine", "time_zone": "UTC"})
            assert answer.status_code == 404, step
    assert entries_of(database, "appliance") == []


async def test_the_api_knows_no_tenant_of_the_appliances_name(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        assert (await caller.ask("GET", "/operator/tenants"))["items"] == []
        exported = await caller.raw("GET", "/operator/tenants", headers={"Accept": "text/csv"})
        assert "appliance" not in exported.text
        await caller.ask("GET", "/operator/tenants/appliance", 404)
        await caller.ask("PATCH", "/operator/tenants/appliance", 404, json={"name": "Mine"})
        for step in ("suspend", "resume", "rotate-claim"):
            await caller.ask("POST", f"/operator/tenants/appliance/{step}", 404)
        await caller.ask("POST", "/operator/tenants", 400, json={"tenant_id": "appliance"})
        for path, body in (
            ("/customer/devices", {"device_id": "d"}),
            ("/customer/sites", {"site_id": "s"}),
            ("/customer/metrics", {"name": "t"}),
        ):
            await caller.ask("POST", f"{path}?tenant=appliance", 404, json=body)
