"""The pages of routes, as a browser without script uses them."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from appliance.people.role import Role
from tests.support.alerts import add_alert
from tests.support.http_sink import answers, http_sink
from tests.support.pipeline import TENANT, arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard

TYPED: dict[str, Any] = {
    "name": "Everything bad",
    "severities": ["critical", "high"],
    "deliver_on": ["OPEN", "CLOSED"],
    "priority": "20",
    "burst": "10",
    "enabled": "on",
    "spares_critical": "on",
}
ROW = (
    "SELECT name, enabled, severities, alert_types, site_ids, tags, device_prefixes, deliver_on, priority, stop,"
    " delay_seconds, remind_minutes, throttle_seconds, burst, quiet_from::text, quiet_until::text, quiet_zone,"
    " quiet_spares_critical FROM integration_routes"
)


@pytest.fixture
def acme(database: Database) -> Database:
    """A tenant with two sites."""
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id, time_zone)"
        " VALUES (now(), now(), 'acme', 'Europe/Oslo')",
        "INSERT INTO sites (created_at, updated_at, tenant_id, site_id, name) VALUES"
        " (now(), now(), 'acme', 'quay', 'Bergen Quay'), (now(), now(), 'acme', 'moss', 'Moss Terminal')",
    )
    return database


@pytest.fixture
def receiver(acme: Database) -> UUID:
    """An integration of it."""
    return add_integration(acme, TENANT, name="Ops desk")


@asynccontextmanager
async def browsing(database: Database, role: Role = Role.ADMIN) -> AsyncIterator[httpx.AsyncClient]:
    """A dashboard, and somebody signed in at it."""
    person = signed_in(database.conninfo(), role, TENANT)
    async with dashboard(database) as served, client(served.url, person) as browser:
        yield browser


def words(page: httpx.Response, after: str = 'id="main"') -> str:
    """Return the words of the page, one blank between them."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text.partition(after)[2])).split())


def row_of(page: httpx.Response, name: str) -> str:
    """Return the words of a route's row."""
    rows = re.findall(r"<tr role=\"row\".*?</tr>", page.text, re.DOTALL)
    [row] = [one for one in rows if f">{name}</a>" in one]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split())


async def test_without_routes_the_page_leads_to_the_next_step(acme: Database) -> None:
    async with browsing(acme) as browser:
        empty = await browser.get("/routes")
        assert "No routes yet: alerts are recorded, and nobody is told" in words(empty)
        assert 'href="/integrations/+new"' in empty.text
        assert "A route needs an integration" in (await browser.get("/routes/+new")).text
        identity = add_integration(acme, TENANT, name="Ops desk")
        assert 'href="/routes/+new"' in (await browser.get("/routes")).text
        only = await browser.get(f"/routes?integration_id={identity}")
        assert "No route leads to Ops desk" in only.text
    async with browsing(acme, Role.VIEWER) as viewer:
        assert 'href="/routes/+new"' not in (await viewer.get("/routes")).text


async def test_everything_of_a_route_is_typed_kept_and_filled_in_again(acme: Database, receiver: UUID) -> None:
    typed = TYPED | {
        "integration_id": str(receiver),
        "alert_types": ["THRESHOLD", "NO_HEARTBEAT"],
        "site_ids": ["quay"],
        "tags": "cold, floor-1",
        "device_prefixes": "BGO-, DRM-",
        "deliver_on": ["OPEN", "ACKNOWLEDGED"],
        "delay_seconds": "15",
        "delay_seconds_unit": "min",
        "remind_minutes": "2",
        "remind_minutes_unit": "h",
        "throttle_seconds": "90",
        "throttle_seconds_unit": "s",
        "burst": "0",
        "quiet_from": "22:00",
        "quiet_until": "06:00",
        "stop": "on",
    }
    del typed["spares_critical"]
    async with browsing(acme) as browser:
        answer = await browser.post("/routes/+new", data=typed)
        assert (answer.status_code, answer.headers["location"]) == (303, "/routes?done=created"), words(answer)
        kept = [
            (
                "Everything bad", True, ["critical", "high"], ["THRESHOLD", "NO_HEARTBEAT"], ["quay"],
                ["cold", "floor-1"], ["BGO-", "DRM-"], ["OPEN", "ACKNOWLEDGED"], 20, True, 900, 120, 90, 0, "22:00:00",
                "06:00:00", "Europe/Oslo", False,
            )
        ]  # fmt: skip
        assert look(acme, ROW) == kept
        page = await browser.get("/routes")
        assert "2 starts of ids" in row_of(page, "Everything bad")
        assert "Webhook, Ops desk, after 15 min" in row_of(page, "Everything bad")
        where = re.search(r'href="(/routes/[0-9a-f-]{36})"', page.text)
        assert where
        form = (await browser.get(where[1])).text
        again: dict[str, Any] = {}
        for tag in re.findall(r"<input[^>]*>", form.partition('id="route-form"')[2]):
            name, value = re.search(r' name="([^"]+)"', tag), re.search(r' value="([^"]*)"', tag)
            if name and value and ("checkbox" not in tag or " checked" in tag):
                again.setdefault(name[1], []).append(html.unescape(value[1]))
        for name, inner in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
            again[name] = re.findall(r'value="([^"]*)" selected', inner)
        assert (await browser.post(where[1], data=again)).status_code == 303
        assert look(acme, ROW) == kept, "saving what the form shows changes nothing"
        assert look(acme, "SELECT version FROM integration_routes") == [(1,)]


@pytest.mark.parametrize(
    ("typed", "field", "text"),
    [
        ({"name": " "}, "name", "A name has"),
        ({"integration_id": ""}, "integration_id", "Choose where the notices go."),
        ({"severities": []}, "severities", "Choose at least one."),
        ({"deliver_on": []}, "deliver_on", "Choose at least one."),
        ({"site_ids": ["nowhere"]}, "site_ids", "There is no site nowhere"),
        ({"device_prefixes": "a b"}, "device_prefixes", "is not the start of a device id"),
        ({"priority": "first"}, "priority", "Write a whole number."),
        ({"remind_minutes": "90", "remind_minutes_unit": "s"}, "remind_minutes", "Write whole minutes."),
        ({"delay_seconds": "9999", "delay_seconds_unit": "h"}, "delay_seconds", "from 0 to 604800"),
        ({"quiet_from": "22:00"}, "quiet_until", "leave both empty"),
        ({"quiet_from": "22:00", "quiet_until": "22:00"}, "quiet_until", "Choose another time"),
        ({"quiet_from": "22:00", "quiet_until": "23:00", "quiet_zone": "Mars/Base"}, "quiet_zone", "no such time zone"),
    ],
)
async def test_a_fault_stands_at_its_field(
    typed: dict[str, Any], field: str, text: str, acme: Database, receiver: UUID
) -> None:
    async with browsing(acme) as browser:
        answer = await browser.post("/routes/+new", data=TYPED | {"integration_id": str(receiver)} | typed)
        assert answer.status_code == 422
        assert f'<a href="#f-{field}">' in answer.text
        assert re.search(rf'id="f-{field}"[^>]* aria-invalid="true"', answer.text)
        found = re.search(rf'id="f-{field}-e">.*?</svg>(.*?)</p>', answer.text)
        assert found
        assert text in html.unescape(found[1])
        assert "`" not in found[1]
        assert look(acme, "SELECT count(*) FROM integration_routes") == [(0,)]


async def test_the_form_counts_what_the_route_would_have_taken_and_says_why_not(acme: Database, receiver: UUID) -> None:
    add_alert(acme, TENANT, severity="critical", summary="Far too warm")
    add_alert(acme, TENANT, severity="low", summary="Battery low")
    async with browsing(acme) as browser:
        typed = TYPED | {"integration_id": str(receiver), "name": "", "do": "preview"}
        page = await browser.post("/routes/+new", data=typed)
        assert page.status_code == 200
        seen = words(page, 'id="preview"')
        assert "Would have taken 1 of the last 2 alerts." in seen
        assert re.search(r"Taken: Critical Far too warm", seen)
        assert re.search(r"Not taken: Low Battery low .*?: another severity", seen)
        every = await browser.post("/routes/+new", data=typed | {"do": "all"})
        assert "Would have taken 2 of the last 2 alerts." in words(every, 'id="preview"')
        unfinished = await browser.post("/routes/+new", data=typed | {"burst": "many"})
        assert "Finish the form" in words(unfinished, 'id="preview"')
        assert look(acme, "SELECT count(*) FROM integration_routes") == [(0,)]


async def test_the_list_says_in_order_what_each_route_sends_and_how_it_goes(acme: Database, receiver: UUID) -> None:
    gone = add_integration(acme, TENANT, name="Old hook", enabled=False, disabled_reason="gone")
    add_route(acme, receiver, TENANT, name="Later", priority=30, severities=["info"], deliver_on=["CLOSED"])
    first = add_route(acme, receiver, TENANT, name="First", priority=10, site_ids=["quay"], severities=["critical"])
    add_route(acme, gone, TENANT, name="Gone", priority=40)
    add_route(acme, receiver, TENANT, name="Unused", priority=50, enabled=False)
    one = add_alert(acme, TENANT)
    for event, status, reason, ended in (
        ("OPEN", "COMPLETED", None, "now() - interval '1 h'"),
        ("ACKNOWLEDGED", "DEAD", "refused", "now() - interval '1 h'"),
        ("CLOSED", "COMPLETED", None, "now() - interval '25 h'"),
        ("REMINDER", "PENDING", "retrying", "NULL"),
    ):
        arrange(
            acme,
            "INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, status, reason,"
            f" created_at, next_run_at, finished_at) VALUES ('acme', {one}, '{first}', '{receiver}', '{event}',"
            f" '{status}', {repr(reason) if reason else 'NULL'}, now(), now() + interval '1 h', {ended})",
        )
    async with browsing(acme) as browser:
        page = await browser.get("/routes")
        names = re.findall(r'class="title" href="/routes/[^"]+">([^<]+)<', page.text)
        assert names == ["First", "Later", "Gone", "Unused"]
        assert f'href="/deliveries?route_id={first}"' in page.text
        assert f'href="/deliveries?route_id={first}&amp;state=dead"' in page.text
        assert (await browser.get(f"/deliveries?route_id={first}&state=dead")).status_code == 200
        assert row_of(page, "First") == "10 First Webhook, Ops desk Critical opened, closed, Bergen Quay 1 waiting 1 1"
        assert "Info on close, all sites" in row_of(page, "Later")
        assert "Off, 410 Gone" in row_of(page, "Gone")
        assert row_of(page, "Unused").endswith("Off 0 0")
        arrange(
            acme,
            "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, last_error)"
            f" VALUES ('acme', '{receiver}', 2, now(), 'status: answered 503')",
        )
        failing = await browser.get("/routes")
        assert re.search(r"Failing since \d\d:\d\d 1 1", row_of(failing, "First"))
        assert ">1 failing<" in failing.text


async def test_a_route_is_switched_where_it_stands_and_deleted_after_a_question(acme: Database, receiver: UUID) -> None:
    route = add_route(acme, receiver, TENANT, name="First")
    async with browsing(acme) as browser:
        page = await browser.get("/routes")
        assert 'role="switch" aria-checked="true" aria-label="First"' in page.text
        answer = await browser.post(f"/routes/{route}/switch", data={"enabled": "false"})
        assert answer.headers["location"] == "/routes?done=off"
        assert look(acme, "SELECT enabled FROM integration_routes") == [(False,)]
        assert look(acme, "SELECT action FROM audit_log") == [("route.disable",)]
        assert "Delete First?" in (await browser.get(f"/routes/{route}/delete")).text
        assert (await browser.post(f"/routes/{route}/delete")).status_code == 422
        gone = await browser.post(f"/routes/{route}/delete", data={"typed": "First"})
        assert gone.headers["location"] == "/routes?done=deleted"
        assert (await browser.get(f"/routes/{route}")).status_code == 404


async def test_somebody_elses_change_is_not_overwritten(acme: Database, receiver: UUID) -> None:
    route = add_route(acme, receiver, TENANT, name="First")
    arrange(acme, "UPDATE integration_routes SET version = 7")
    async with browsing(acme) as browser:
        typed = TYPED | {"integration_id": str(receiver), "version": "1"}
        answer = await browser.post(f"/routes/{route}", data=typed)
        assert answer.status_code == 409
        assert "was changed by someone else" in answer.text
        assert 'value="Everything bad"' in answer.text, "what was typed stays"


async def test_a_sample_is_sent_to_the_integration_that_is_chosen(acme: Database) -> None:
    async with http_sink(answers(204)) as sink, browsing(acme) as browser:
        hook = {"type": "webhook", "name": "Sink", "config.url": sink.url(), "enabled": "on"}
        await browser.post("/integrations/+new", data=hook)
        [(identity,)] = look(acme, "SELECT integration_id FROM integrations")
        typed = TYPED | {"integration_id": str(identity), "do": "test"}
        page = await browser.post("/routes/+new", data=typed)
        assert "Delivered after" in words(page, 'id="sample"')
        assert len(sink.requests) == 1
        assert look(acme, "SELECT count(*) FROM integration_routes") == [(0,)]


async def test_a_viewer_sees_routes_without_forms(acme: Database, receiver: UUID) -> None:
    route = add_route(acme, receiver, TENANT, name="First", site_ids=["quay"])
    async with browsing(acme, Role.VIEWER) as viewer:
        for path in ("/routes", f"/routes/{route}"):
            page = await viewer.get(path)
            assert page.status_code == 200
            assert 'method="post"' not in page.text.partition('id="main"')[2].partition("</main>")[0]
        assert "Sites Bergen Quay" in words(page)
        assert (await viewer.post(f"/routes/{route}", data=TYPED)).status_code == 403


async def test_operators_name_the_tenant(acme: Database, receiver: UUID) -> None:
    route = add_route(acme, receiver, TENANT, name="First")
    async with browsing(acme, Role.OPERATOR) as operator:
        every = await operator.get("/routes")
        assert f'href="/routes/{route}?tenant=acme"' in every.text
        page = await operator.get(f"/routes/{route}?tenant=acme")
        assert f'action="/routes/{route}?tenant=acme"' in page.text
        assert (await operator.get("/routes/+new")).headers["Location"] == "/routes/+new?tenant=acme"
