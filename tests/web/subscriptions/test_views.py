"""Subscriptions, for operators: sold, changed and held, on a tenant's pages and over the API."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard

API = "/operator/subscriptions"


@pytest.fixture
def operators(database: Database) -> Database:
    """A database with the tenants acme, in Oslo, and globex."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO tenants (created_at, updated_at, tenant_id, time_zone)"
            " VALUES (now(), now(), 'acme', 'Europe/Oslo'), (now(), now(), 'globex', 'UTC')"
        )
    return database


def entries_of(database: Database) -> list[tuple[str, Any]]:
    """Return the entries of the audit about subscriptions: action and new values."""
    with psycopg.connect(database.conninfo()) as connection:
        query = "SELECT action, after FROM audit_log WHERE object_type = 'subscription' ORDER BY id"
        return connection.execute(query).fetchall()


async def test_one_is_sold_changed_held_and_lifted_on_the_page(operators: Database) -> None:
    operator = signed_in(operators.conninfo())
    async with dashboard(operators) as served, client(served.url, operator) as browser:
        assert "No subscriptions yet" in (await browser.get("/tenants/acme")).text
        new = {"subscription_type": "MAIN", "device_limit": "10", "term_days": "90", "description": "Base"}
        sold = await browser.post("/tenants/acme/subscriptions/+new", data=new)
        assert sold.headers["location"] == "/tenants/acme?done=sold"
        page = (await browser.get("/tenants/acme")).text
        (path,) = set(re.findall(r'href="(/tenants/acme/subscriptions/SUB-[\d-]+)"', page))
        assert "0 of 10 seats in use" in page
        form = (await browser.get(path)).text
        given = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form))
        assert (given["device_limit"], given["description"]) == ("10", "Base")
        changed = given | {"device_limit": "20", "last_day": "2031-06-30", "plan_id": "gold"}
        assert (await browser.post(path, data=changed)).headers["location"] == "/tenants/acme?done=subscription"
        assert "30 Jun 2031" in (await browser.get("/tenants/acme")).text
        again = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', (await browser.get(path)).text))
        await browser.post(path, data=again | {"hold_reason": "unpaid"})
        held = (await browser.get("/tenants/acme")).text
        assert "On hold" in held
        assert "No subscription gives seats" in held
        again = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', (await browser.get(path)).text))
        await browser.post(path, data=again | {"hold_reason": ""})
    entries = entries_of(operators)
    assert [action for action, _ in entries] == [
        "subscription.add", "subscription.change", "subscription.hold", "subscription.lift_hold",
    ]  # fmt: skip
    assert entries[1][1] == {"device_limit": 20, "term_end": "2031-06-30T22:00:00Z", "plan_id": "gold"}


async def test_what_cannot_be_sold_or_changed_comes_back_filled_in(operators: Database) -> None:
    operator = signed_in(operators.conninfo())
    async with dashboard(operators) as served, client(served.url, operator) as browser:
        sell = "/tenants/acme/subscriptions/+new"
        good = {"subscription_type": "MAIN", "device_limit": "10", "term_days": "90", "description": "Base"}
        for wrong, status, field in (
            ({"device_limit": "0"}, 422, "device_limit"),
            ({"device_limit": "1e3"}, 422, "device_limit"),
            ({"device_limit": "99999999999"}, 422, "device_limit"),
            ({"device_limit": ""}, 422, "device_limit"),
            ({"term_days": ""}, 422, "term_days"),
            ({"term_days": "36501"}, 422, "term_days"),
            ({"subscription_type": "GOLD"}, 422, "subscription_type"),
            ({"subscription_type": "ADDON"}, 409, "subscription_type"),
            ({"plan_id": "x" * 257}, 422, "plan_id"),
            ({"description": "a\u202eb"}, 422, "description"),
        ):
            answer = await browser.post(sell, data=good | wrong)
            assert (answer.status_code, f'href="#f-{field}"' in answer.text) == (status, True), wrong
        assert entries_of(operators) == []
        await browser.post(sell, data=good | {"active_device_count": "7", "status": "EXPIRED", "tenant_id": "globex"})
        assert (await browser.post(sell, data=good)).status_code == 409, "there is one MAIN"
        (path,) = set(
            re.findall(r'href="(/tenants/acme/subscriptions/SUB-[\d-]+)"', (await browser.get("/tenants/acme")).text)
        )
        given = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', (await browser.get(path)).text))
        for wrong, status, field in (
            ({"last_day": "31.12.2027"}, 422, "last_day"),
            ({"last_day": "9999-12-31"}, 422, "last_day"),
            ({"last_day": "2999-12-31"}, 422, "last_day"),
            ({"last_day": ""}, 422, "last_day"),
            ({"hold_reason": "x" * 257}, 422, "hold_reason"),
            ({"device_limit": "-1"}, 422, "device_limit"),
        ):
            answer = await browser.post(path, data=given | wrong)
            assert (answer.status_code, f'href="#f-{field}"' in answer.text) == (status, True), wrong
        assert (await browser.post(path, data=given | {"last_day": "2001-01-01"})).status_code == 409
        assert (await browser.post(path, data=given | {"device_limit": "11"})).status_code == 303
        assert (await browser.post(path, data=given | {"device_limit": "12"})).status_code == 409, "a stale form"
        for nowhere in (
            "/tenants/globex/subscriptions/" + path.rpartition("/")[2],
            "/tenants/acme/subscriptions/SUB-9",
        ):
            assert (await browser.get(nowhere)).status_code == 404
            assert (await browser.post(nowhere, data=given)).status_code == 404
    assert [action for action, _ in entries_of(operators)] == ["subscription.add", "subscription.change"]
    with psycopg.connect(operators.conninfo()) as connection:
        row = connection.execute(
            "SELECT tenant_id, status, active_device_count, device_limit FROM subscriptions"
        ).fetchall()
    assert row == [("acme", "ACTIVE", 0, 11)]


async def test_an_end_that_nobody_moved_stays_the_instant_that_it_is(operators: Database) -> None:
    operator = signed_in(operators.conninfo())
    async with dashboard(operators) as served, client(served.url, operator) as browser:
        new = {"subscription_type": "TRIAL", "device_limit": "10", "term_days": "30"}
        await browser.post("/tenants/acme/subscriptions/+new", data=new)
        (path,) = set(
            re.findall(r'href="(/tenants/acme/subscriptions/SUB-[\d-]+)"', (await browser.get("/tenants/acme")).text)
        )
        given = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', (await browser.get(path)).text))
        await browser.post(path, data=given | {"description": "Pilot"})
    assert entries_of(operators)[-1] == ("subscription.change", {"description": "Pilot"})


async def test_the_api_sells_changes_and_lists(operators: Database) -> None:
    async with dashboard(operators) as served, calling(served, operators, Role.OPERATOR) as caller:
        main = await caller.ask("POST", f"{API}?tenant=acme", 201, json={"device_limit": 5, "term_days": 30})
        addon = {"subscription_type": "ADDON", "device_limit": 2}
        added = await caller.ask("POST", f"{API}?tenant=acme", 201, json=addon)
        assert added["parent_subscription_id"] == main["subscription_id"]
        assert added["term_end"] == main["term_end"]
        other = {"subscription_type": "TRIAL", "device_limit": 1, "term_days": 7}
        await caller.ask("POST", f"{API}?tenant=globex", 201, json=other)
        one = f"{API}/{main['subscription_id']}?tenant=acme"
        assert await caller.ask("GET", one) == main
        held = await caller.ask("PATCH", one, json={"hold_reason": "unpaid", "version": main["version"]})
        assert (held["status"], held["hold_reason"]) == ("SUSPENDED", "unpaid")
        await caller.ask("PATCH", one, 409, json={"device_limit": 9, "version": main["version"]})
        first = await caller.ask("GET", f"{API}?limit=2")
        rest = await caller.ask("GET", f"{API}?limit=2&cursor={first['next']}")
        listed = [*first["items"], *rest["items"]]
        assert [(row["tenant_id"], row["subscription_type"]) for row in listed] == [
            ("acme", "MAIN"), ("acme", "ADDON"), ("globex", "TRIAL"),
        ]  # fmt: skip
        assert [row["status"] for row in listed] == ["SUSPENDED", "SUSPENDED", "TRIAL"], (
            "an add-on is held with its main"
        )
        assert rest["next"] is None
        lifted = await caller.ask("PATCH", one, json={"hold_reason": None, "device_limit": 6})
        assert (lifted["status"], lifted["device_limit"]) == ("ACTIVE", 6)
        later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
        assert (await caller.ask("PATCH", one, json={"term_end": later}))["term_end"][:10] == later[:10]
        file = await caller.raw("GET", f"{API}?tenant=acme", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff"))))
    assert [(row["tenant_id"], row["device_limit"]) for row in rows] == [("acme", "6"), ("acme", "2")]


async def test_over_the_api_what_cannot_be_names_its_field(operators: Database) -> None:
    async with dashboard(operators) as served, calling(served, operators, Role.OPERATOR) as caller:
        good = {"device_limit": 5, "term_days": 30}
        for wrong, field in (
            ({"device_limit": 0}, "device_limit"),
            ({"device_limit": 2**31}, "device_limit"),
            ({"term_days": None}, "term_days"),
            ({"term_days": 40_000}, "term_days"),
            ({"plan_id": "a\u0000b"}, "plan_id"),
            ({"description": "x" * 257}, "description"),
            ({"active_device_count": 3}, "active_device_count"),
            ({"tenant_id": "globex"}, "tenant_id"),
        ):
            assert (await caller.ask("POST", f"{API}?tenant=acme", 400, json=good | wrong))["field"] == field
        assert (await caller.ask("POST", API, 400, json=good))["field"] == "tenant"
        await caller.ask("POST", f"{API}?tenant=never", 404, json=good)
        await caller.ask("POST", f"{API}?tenant=acme", 404, json={"subscription_type": "ADDON", "device_limit": 1})
        made = await caller.ask("POST", f"{API}?tenant=acme", 201, json=good)
        one = f"{API}/{made['subscription_id']}"
        for wrong, field in (
            ({"term_end": "2027-01-01T00:00:00"}, "term_end"),
            ({"term_end": "9999-12-31T23:59:59-12:00"}, "term_end"),
            ({"device_limit": 0}, "device_limit"),
            ({"hold_reason": "a\nb"}, "hold_reason"),
            ({"status": "ACTIVE"}, "status"),
        ):
            assert (await caller.ask("PATCH", f"{one}?tenant=acme", 400, json=wrong))["field"] == field
        assert (await caller.ask("PATCH", one, 400, json={}))["field"] == "tenant"
        for tenant in ("globex", "never"):
            await caller.ask("GET", f"{one}?tenant={tenant}", 404)
            await caller.ask("PATCH", f"{one}?tenant={tenant}", 404, json={"device_limit": 9})
        for wrong_query in ("limit=0", "limit=1001", "cursor=x", "tenant=.a"):
            await caller.ask("GET", f"{API}?{wrong_query}", 400)
    assert len(entries_of(operators)) == 1


async def test_below_the_seats_in_use_nothing_is_cut(operators: Database) -> None:
    async with dashboard(operators) as served, calling(served, operators, Role.OPERATOR) as caller:
        made = await caller.ask("POST", f"{API}?tenant=acme", 201, json={"device_limit": 5, "term_days": 30})
        with psycopg.connect(operators.conninfo()) as connection:
            connection.execute(
                "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
                " SELECT now(), now(), 'acme', 'd' || n, 'ACTIVE', %s FROM generate_series(1, 3) AS n",
                [made["subscription_id"]],
            )
        one = f"{API}/{made['subscription_id']}?tenant=acme"
        refused = await caller.ask("PATCH", one, 409, json={"device_limit": 2, "version": made["version"]})
        assert "deactivate 1 of them first" in refused["detail"]
        assert (await caller.ask("PATCH", one, json={"device_limit": 3, "version": made["version"]}))[
            "device_limit"
        ] == 3


async def test_a_zone_that_this_machine_lacks_does_not_take_the_page_away(operators: Database) -> None:
    """Debian 13 has moved old names of zones to a package of their own."""
    operator = signed_in(operators.conninfo())
    async with dashboard(operators) as served, client(served.url, operator) as browser:
        new = {"subscription_type": "MAIN", "device_limit": "10", "term_days": "90"}
        await browser.post("/tenants/acme/subscriptions/+new", data=new)
        with psycopg.connect(operators.conninfo()) as connection:
            connection.execute("UPDATE tenants SET time_zone = 'Europe/Atlantis' WHERE tenant_id <> 'appliance'")
        page = await browser.get("/tenants/acme")
        assert page.status_code == 200
        (path,) = set(re.findall(r'href="(/tenants/acme/subscriptions/SUB-[\d-]+)"', page.text))
        assert (await browser.get(path)).status_code == 200
