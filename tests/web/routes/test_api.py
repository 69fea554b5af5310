"""``/customer/integration-routes``: routes as programs make, read, change, try and delete them."""

import csv
import io
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from appliance.delivery.integrations.integration import ROUTES_CHANNEL
from appliance.delivery.routes.store import MAX_ROUTES
from appliance.delivery.routes.validation import MAX_LISTED
from appliance.people.role import Role
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route, jobs
from tests.support.tenants import TENANT, add_tenant, ingest
from tests.support.web.api_caller import calling, dashboard

PATH = "/customer/integration-routes"
SHORT: dict[str, Any] = {"name": "Night", "severities": ["critical", "high"], "deliver_on": ["OPEN", "CLOSED"]}
FULL: dict[str, Any] = {
    "name": "All of it",
    "enabled": False,
    "severities": ["critical", "low"],
    "alert_types": ["THRESHOLD", "NO_DATA"],
    "site_ids": ["depot"],
    "tags": ["cold"],
    "device_prefixes": ["fridge-"],
    "deliver_on": ["OPEN", "ACKNOWLEDGED", "CLOSED"],
    "priority": 5,
    "stop": True,
    "delay_seconds": 900,
    "remind_minutes": 30,
    "throttle_seconds": 600,
    "burst": 0,
    "quiet_hours": {"begins": "22:00", "ends": "06:30", "zone": "Europe/Oslo", "spares_critical": False},
}


async def prepare(database: Database) -> UUID:
    """Add tenants, a site and an integration, and return its id."""
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await add_tenant(connection, "rival")
    arrange(
        database,
        "UPDATE tenants SET time_zone = 'Europe/Berlin'",
        "INSERT INTO sites (created_at, updated_at, tenant_id, site_id) VALUES (now(), now(), 'acme', 'depot')",
    )
    return add_integration(database, name="Ops")


@pytest.mark.parametrize("given", [SHORT, FULL], ids=lambda given: str(given["name"]))
async def test_a_route_comes_back_as_it_was_made(database: Database, given: dict[str, Any]) -> None:
    integration = await prepare(database)
    wanted = {**given, "integration_id": str(integration)}
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.raw("POST", PATH, json=wanted)
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"{PATH}/{made['route_id']}"
        assert {name: made[name] for name in wanted} == wanted
        assert (made["integration_name"], made["integration_type"], made["integration_enabled"]) == (
            "Ops",
            "webhook",
            True,
        )
        assert await admin.ask("GET", f"{PATH}/{made['route_id']}") == made
        assert (await admin.ask("GET", PATH))["items"] == [made]


async def test_a_route_is_changed_field_by_field_and_deleted(database: Database) -> None:
    integration, other = await prepare(database), add_integration(database, name="Other")
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json={**FULL, "integration_id": str(integration)})
        where = f"{PATH}/{made['route_id']}"
        changes = {"integration_id": str(other), "tags": [], "version": made["version"]}
        changed = await admin.ask("PATCH", where, json=changes)
        assert (changed["integration_name"], changed["tags"], changed["site_ids"]) == ("Other", [], ["depot"])
        await admin.ask("PATCH", where, 409, json={"priority": 1, "version": made["version"]})
        assert (await admin.ask("PATCH", where, json={}))["version"] == changed["version"], "nothing has changed"
        on = await admin.ask(
            "PATCH", where, json={"enabled": True, "quiet_hours": {"begins": "23:00", "ends": "05:00"}}
        )
        assert on["quiet_hours"] == {
            "begins": "23:00",
            "ends": "05:00",
            "zone": "Europe/Berlin",
            "spares_critical": True,
        }
        assert (await admin.ask("PATCH", where, json={"quiet_hours": None}))["quiet_hours"] is None
        arrange(database, "DELETE FROM sites")
        assert (await admin.ask("PATCH", where, json={"name": "Kept"}))["site_ids"] == ["depot"], "it is gone since"
        await admin.ask("PATCH", where, json={"enabled": False})
        await admin.ask("DELETE", where, 204)
        await admin.ask("GET", where, 404)
        await admin.ask("DELETE", where, 404)
    kept = look(database, "SELECT action, before, after FROM audit_log ORDER BY id")
    verbs = ["create", "update", "update", "update", "update", "disable", "delete"]
    assert [action for action, *_ in kept] == [f"route.{verb}" for verb in verbs]
    assert kept[1][1:] == ({"integration": "Ops", "tags": ["cold"]}, {"integration": "Other", "tags": []})
    assert kept[5][1:] == ({"enabled": True}, {"enabled": False})


async def test_what_nobody_was_told_goes_where_the_route_leads_now(database: Database) -> None:
    """And the end of what was told goes where it was told."""
    integration, other = await prepare(database), add_integration(database)
    route = add_route(database, integration)
    waiting, told = add_alert(database), add_alert(database)
    completed = "UPDATE delivery_jobs SET status = 'COMPLETED', receipt = 'confirmed', finished_at = now()"
    closed = (
        "INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT 'acme', id, now(), 'closed' FROM fleet_alert"
    )
    arrange(database, f"{completed} WHERE alert_id = {told}", closed)
    async with dashboard(database) as served, calling(served, database) as admin:
        await admin.ask("PATCH", f"{PATH}/{route}", json={"integration_id": str(other)})
    assert jobs(database, "alert_id, event, integration_id") == [
        (waiting, "OPEN", other),
        (told, "OPEN", integration),
        (waiting, "CLOSED", other),
        (told, "CLOSED", integration),
    ]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "a\r\nb"}, "name"),
    ({"severities": []}, "severities"),
    ({"severities": ["catastrophic"]}, "severities"),
    ({"deliver_on": []}, "deliver_on"),
    ({"deliver_on": ["REMINDER"]}, "deliver_on"),
    ({"alert_types": ["FIRE"]}, "alert_types"),
    ({"site_ids": ["nowhere"]}, "site_ids"),
    ({"site_ids": ["a b"]}, "site_ids"),
    ({"tags": [""]}, "tags"),
    ({"tags": ["a\0"]}, "tags"),
    ({"tags": [str(number) for number in range(MAX_LISTED + 1)]}, "tags"),
    ({"device_prefixes": ["a%"]}, "device_prefixes"),
    ({"priority": -1}, "priority"),
    ({"priority": 10**20}, "priority"),
    ({"delay_seconds": 604_801}, "delay_seconds"),
    ({"remind_minutes": 10_081}, "remind_minutes"),
    ({"remind_minutes": 5, "deliver_on": ["CLOSED"]}, "remind_minutes"),
    ({"throttle_seconds": -1}, "throttle_seconds"),
    ({"burst": 10_001}, "burst"),
    ({"quiet_hours": {"begins": "22:00", "ends": "22:00"}}, "quiet_hours.ends"),
    ({"quiet_hours": {"begins": "25:00", "ends": "22:00"}}, "quiet_hours.begins"),
    ({"quiet_hours": {"begins": "22:00", "ends": "06:00:30"}}, "quiet_hours.ends"),
    ({"quiet_hours": {"begins": "22:00", "ends": "06:00", "zone": "Mars/Base"}}, "quiet_hours.zone"),
    ({"integration_id": str(uuid4())}, "integration_id"),
    ({"min_severity": 3}, "min_severity"),
]


async def test_every_fault_names_its_field_on_all_three_ways(database: Database) -> None:
    integration = await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        good = {**SHORT, "integration_id": str(integration)}
        made = await admin.ask("POST", PATH, 201, json=good)
        for fault, field in FAULTS:
            for method, path in (("POST", PATH), ("POST", f"{PATH}/preview"), ("PATCH", f"{PATH}/{made['route_id']}")):
                answer = await admin.raw(method, path, json=fault if method == "PATCH" else {**good, **fault})
                assert (answer.status_code, answer.json().get("field")) == (400, field), (method, fault, answer.text)
        assert (await admin.ask("GET", PATH))["items"] == [made]


async def test_words_are_read_in_any_case_and_each_once(database: Database) -> None:
    integration = await prepare(database)
    loud = {"severities": ["HIGH", "Critical", "high"], "deliver_on": ["closed", "open"], "alert_types": ["threshold"]}
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json={**SHORT, **loud, "integration_id": str(integration)})
    assert (made["severities"], made["deliver_on"], made["alert_types"]) == (
        ["critical", "high"],
        ["OPEN", "CLOSED"],
        ["THRESHOLD"],
    )


async def test_lists_come_in_the_order_in_which_routes_are_tried_and_there_is_a_most(database: Database) -> None:
    integration, other = await prepare(database), add_integration(database)
    for number in range(MAX_ROUTES - 1):
        add_route(database, integration, name=f"r{number:03}", priority=number * 7 % 50)
    async with dashboard(database) as served, calling(served, database) as admin:
        good = {**SHORT, "integration_id": str(other)}
        made = await admin.ask("POST", PATH, 201, json=good)
        await admin.ask("POST", PATH, 409, json={**good, "name": "one more"})
        await admin.ask("PATCH", f"{PATH}/{made['route_id']}", 409, json={"name": "R001"})
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await admin.ask("GET", f"{PATH}?limit=70&cursor={cursor}")
            found += page["items"]
            if page["next"] is None:
                break
            cursor = page["next"]
        places = [(one["priority"], one["route_id"]) for one in found]
        assert (places, len(places)) == (sorted(places), MAX_ROUTES)
        named = await admin.ask("GET", f"{PATH}?integration_id={other}&enabled=true&q=NIGHT")
        assert [one["name"] for one in named["items"]] == ["Night"]


async def test_a_preview_says_what_a_route_would_have_taken_and_why_not(database: Database) -> None:
    integration = await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        good = {**SHORT, "integration_id": str(integration), "site_ids": ["depot"]}
        assert await admin.ask("POST", f"{PATH}/preview", json=good) == {"alerts": 0, "taken": 0, "items": []}
        for number in range(55):
            add_alert(database, site_id="depot" if number % 5 == 0 else None, device_id="d-1")
        low = add_alert(database, severity="low", site_id="depot")
        found = await admin.ask("POST", f"{PATH}/preview", json=good)
        assert (found["alerts"], found["taken"], len(found["items"])) == (50, 9, 50)
        assert (found["items"][0]["alert_id"], found["items"][0]["taken"]) == (low, False)
        assert found["items"][0]["reasons"] == [
            {"condition": "severity", "wanted": ["critical", "high"], "found": ["low"]}
        ]
        first = await admin.ask("POST", PATH, 201, json={**good, "name": "First", "stop": True, "priority": 1})
        stopped = await admin.ask("POST", f"{PATH}/preview", json={**good, "site_ids": []})
        assert {one["stopped_by"] for one in stopped["items"] if not one["taken"]} == {"First", None}
        assert stopped["taken"] == 40
        own = await admin.ask("POST", f"{PATH}/preview", json={**good, "route_id": first["route_id"]})
        assert own["taken"] == 9, "it is tried in the place of the one that is there"
        await admin.ask("POST", f"{PATH}/preview", 404, json={**good, "route_id": str(uuid4())})
        assert len((await admin.ask("GET", PATH))["items"]) == 1


async def test_a_route_whose_integration_is_gone_is_shown_and_can_be_led_elsewhere(database: Database) -> None:
    """As one that was taken over from the platform before this one."""
    integration = await prepare(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO integration_routes (tenant_id, name, integration_id, severities, created_at, updated_at)"
            " VALUES ('acme', 'Old', gen_random_uuid(), '{high}', now(), now())"
        )
    async with dashboard(database) as served, calling(served, database) as admin:
        [old] = (await admin.ask("GET", PATH))["items"]
        assert (old["integration_name"], old["integration_enabled"]) == (None, False)
        where = f"{PATH}/{old['route_id']}"
        await admin.ask("PATCH", where, json={"name": "Older"})
        led = await admin.ask("PATCH", where, json={"integration_id": str(integration)})
        assert led["integration_name"] == "Ops"


async def test_viewers_read_only_and_other_tenants_have_their_own(database: Database) -> None:
    integration = await prepare(database)
    theirs = add_integration(database, "rival")
    road = add_route(database, theirs, "rival", name="Theirs")
    good = {**SHORT, "integration_id": str(integration)}
    async with dashboard(database) as served:
        async with calling(served, database, Role.VIEWER) as viewer:
            assert (await viewer.ask("GET", PATH))["items"] == []
            await viewer.ask("POST", PATH, 403, json=good)
            await viewer.ask("POST", f"{PATH}/preview", 403, json=good)
        async with calling(served, database) as admin:
            await admin.ask("GET", f"{PATH}/{road}", 404)
            await admin.ask("PATCH", f"{PATH}/{road}", 404, json={})
            await admin.ask("DELETE", f"{PATH}/{road}", 404)
            await admin.ask("POST", PATH, 400, json={**SHORT, "integration_id": str(theirs)})
        async with calling(served, database, Role.OPERATOR) as operator:
            await operator.ask("POST", PATH, 400, json=good)
            await operator.ask("POST", f"{PATH}?tenant=nobody", 404, json=good)
            await operator.ask("POST", f"{PATH}?tenant={TENANT}", 201, json=good)
            answer = await operator.raw("GET", PATH, headers={"Accept": "text/csv"})
            rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
            assert [(row["tenant_id"], row["severities"]) for row in rows] == [
                (TENANT, "critical, high"),
                ("rival", "critical, high, medium, low, info"),
            ]


async def test_couriers_and_pages_are_told_of_every_change(database: Database) -> None:
    integration = await prepare(database)
    with psycopg.connect(database.conninfo(), autocommit=True) as listener:
        listener.execute(f"LISTEN {ROUTES_CHANNEL}".encode())
        async with dashboard(database) as served, calling(served, database) as admin:
            made = await admin.ask("POST", PATH, 201, json={**SHORT, "integration_id": str(integration)})
            await admin.ask("PATCH", f"{PATH}/{made['route_id']}", json={"priority": 1})
            await admin.ask("PATCH", f"/customer/integrations/{integration}", json={"name": "Other"})
            await admin.ask("DELETE", f"{PATH}/{made['route_id']}", 204)
            await admin.ask("DELETE", f"/customer/integrations/{integration}", 204)
        told = [notice.payload for notice in listener.notifies(timeout=5, stop_after=5)]
    assert told == ['{"tenants": ["acme"]}'] * 5
