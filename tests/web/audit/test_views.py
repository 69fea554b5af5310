"""The audit: by person, object, action and time, on the page, over the API and as a file."""

import csv
import io
import re

import psycopg

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard


def fill(database: Database, rows: int = 3) -> None:
    """Changes of two people in two tenants, one a minute, and one of the appliance as a whole."""
    with psycopg.connect(database.conninfo()) as connection:
        for tenant, actor in (("acme", "kim@acme.example"), ("globex", "bo@globex.example"), (None, "janitor")):
            connection.execute(
                "INSERT INTO audit_log"
                " (at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after)"
                " SELECT '2026-11-20T10:00Z'::timestamptz + n * interval '1 minute', %s, %s, 'user', 'device.rename',"
                " 'device', 'pump-' || n, jsonb_build_object('name', '=1+1'), jsonb_build_object('name', 'Pump ' || n)"
                " FROM generate_series(1, %s) AS n",
                [tenant, actor, rows],
            )


def changed_fields(page: str) -> list[str]:
    """Return the changed fields that the page shows."""
    return [" ".join(re.sub(r"<[^>]*>", "", field).split()) for field in re.findall(r"<li>.*?</li>", diffs(page))]


def diffs(page: str) -> str:
    """The differences on the page."""
    return "".join(re.findall(r'<ul class="diff">.*?</ul>', page))


async def test_an_admin_reads_the_tenants_changes_newest_first(database: Database) -> None:
    fill(database)
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        page = (await browser.get("/audit")).text
        assert page.index("pump-3") < page.index("pump-1")
        assert "kim@acme.example" in page
        assert changed_fields(page)[0] == "Name =1+1 → Pump 3"
        assert "device.rename" in page, "an action without a label is shown by its code"
        assert "bo@globex.example" not in page
        assert "janitor" not in page
        assert "pump-1" not in (await browser.get("/audit?object=device/pump-2")).text
        assert "pump-2" in (await browser.get("/audit?object=pump-2")).text
        assert "No changes match" in (await browser.get("/audit?object=site/pump-2")).text
        assert "No changes match" in (await browser.get("/audit?actor=nobody")).text
        late = (await browser.get("/audit?from=2026-11-20T10:02Z&to=2026-11-20T10:02:30Z")).text
        assert "pump-2" in late
        assert "pump-3" not in late


async def test_a_change_is_shown_with_labels_names_and_times_for_codes_and_ids(database: Database) -> None:
    admin = signed_in(database.conninfo(), Role.ADMIN)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO audit_log"
            " (at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after, address) VALUES"
            " (now(), 'acme', 'kim (cron)', 'token', 'user.set_role', 'user', %(user)s, '{\"role\": \"viewer\"}',"
            "  '{\"role\": \"admin\"}', '192.0.2.7'),"
            " (now(), 'acme', 'root', 'command', 'subscription.add', 'subscription', 'SUB-1', NULL, %(sold)s, NULL),"
            " (now(), 'acme', 'root', 'command', 'user.reset', 'user', '<b>not-an-id', NULL, NULL, NULL)",
            {
                "user": str(admin.user_id),
                "sold": '{"status": "IN_GRACE", "plan_id": null, "term_end": "2026-12-06T12:00:00Z",'
                ' "description": "2026-99-99T12:00:00Z", "tags": ["a", "b"], "held": true}',
            },
        )
    async with dashboard(database) as served, client(served.url, admin) as browser:
        page = (await browser.get("/audit")).text
        by_person = (await browser.get("/audit?actor=kim")).text
    assert [
        label for label in ("Changed a role", "Added a subscription", "Created a password link") if label not in page
    ] == []
    assert f">{admin.email}</a>" in page
    assert "<b>not-an-id" not in page
    fields = changed_fields(page)
    assert "Role viewer → admin" in fields
    assert "Status In grace" in fields
    assert "Tags a, b" in fields
    assert "Held yes" in fields
    assert "Description 2026-99-99T12:00:00Z" in fields
    assert any(field.startswith("Term end Sun 6 Dec 2026, ") for field in fields)
    assert not any("Plan" in field for field in fields), "what is nothing on both sides is no change"
    assert "kim (cron)" in by_person, "a person's tokens go with the person"
    assert "SUB-1" not in by_person


async def test_a_rule_is_called_by_its_name_also_once_it_is_deleted(database: Database) -> None:
    given = {"name": "Too warm", "severity": "low", "kind": "change", "metric": "mode", "scope": {"tags": ["a", "b"]}}
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", "/customer/alert-rules", 201, json=given)
        await admin.ask("PATCH", f"/customer/alert-rules/{made['rule_id']}", json={"enabled": False})
        await admin.ask("DELETE", f"/customer/alert-rules/{made['rule_id']}", 204)
        page = (await admin.raw("GET", "/audit?action=rule.")).text
    for label in ("Added an alert rule", "Disabled an alert rule", "Deleted an alert rule"):
        assert label in page
    assert page.count(">Too warm</a>") == 3
    assert made["rule_id"] not in re.sub(r'(href|title)="[^"]*"', "", page)
    assert "Enabled yes → no" in changed_fields(page)
    assert "Tags a, b" in changed_fields(page)


async def test_what_cannot_be_asked_names_the_parameter(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database) as caller:
        for wrong, field in (
            ("from=soon", "from"),
            ("from=1;drop", "from"),
            ("to=1e999", "to"),
            ("from=2026-02-30", "from"),
            ("from=2026-11-20&to=2026-11-19", "from"),
            ("cursor=x", "cursor"),
            ("cursor=-1", "cursor"),
            ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cursor"),
            ("actor=%00", "actor"),
            ("object=" + "x" * 300, "object"),
        ):
            assert (await caller.raw("GET", f"/audit?{wrong}")).status_code == 400
            assert (await caller.ask("GET", f"/customer/audit?{wrong}", 400))["field"] == field
        for wrong in ("limit=0", "limit=1000000", "limit=NaN"):
            assert (await caller.ask("GET", f"/customer/audit?{wrong}", 400))["field"] == "limit"
        for odd in ("from=1970-01-03&to=2999-12-31", "action=%25", "object='; drop--", "from=&to="):
            assert (await caller.raw("GET", f"/audit?{odd}")).status_code == 200, odd


async def test_the_api_pages_through_all_of_it(database: Database) -> None:
    fill(database, 25)
    async with dashboard(database) as served, calling(served, database) as caller:
        seen, cursor = [], ""
        while True:
            page = await caller.ask("GET", f"/customer/audit?limit=10&action=device.&cursor={cursor}")
            seen += [row["object_id"] for row in page["items"]]
            if page["next"] is None:
                break
            cursor = page["next"]
    assert seen == [f"pump-{number}" for number in range(25, 0, -1)]


async def test_the_file_holds_every_row_and_no_formula(database: Database) -> None:
    fill(database, 2500)
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        by_page = await browser.get("/audit?action=device.&format=csv")
        by_api = await browser.get("/customer/audit?action=device.", headers={"Accept": "text/csv"})
    assert by_page.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_page.headers["content-disposition"].startswith('attachment; filename="audit-')
    assert by_page.text == by_api.text
    head, *rows = csv.reader(io.StringIO(by_page.text.removeprefix("\ufeff")))
    assert head[:5] == ["time", "tenant_id", "actor", "actor_kind", "action"]
    assert len(rows) == 2500
    assert {row[1] for row in rows} == {"acme"}


async def test_another_tenants_audit_is_never_shown(database: Database) -> None:
    fill(database)
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        for path in ("/audit", "/customer/audit"):
            for query in ("", "?tenant=globex", "?actor=bo@globex.example", "?object=device/pump-1&tenant=globex"):
                for wanted in ("", "&format=csv" if query else "?format=csv"):
                    answer = await browser.get(path + query + wanted)
                    assert answer.status_code == 200
                    text = answer.text.replace('value="bo@globex.example"', "")
                    assert [who for who in ("bo@globex", "janitor") if who in text.replace(query, "")] == []
    for role in (Role.RESPONDER, Role.VIEWER):
        reader = signed_in(database.conninfo(), role)
        async with dashboard(database) as served, client(served.url, reader) as browser:
            assert [(await browser.get(path)).status_code for path in ("/audit", "/customer/audit")] == [403, 403]


async def test_an_operator_sees_all_or_one_tenant(database: Database) -> None:
    fill(database)
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        everything = await caller.ask("GET", "/customer/audit?action=device.")
        assert {row["tenant_id"] for row in everything["items"]} == {"acme", "globex", None}
        one = await caller.ask("GET", "/customer/audit?action=device.&tenant=globex")
        assert {row["tenant_id"] for row in one["items"]} == {"globex"}


async def test_nobody_changes_the_audit_through_the_roles_of_the_product(database: Database) -> None:
    fill(database)
    for role in ("appliance_web", "appliance_ingest"):
        for change in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with psycopg.connect(database.conninfo(role)) as connection:
                try:
                    connection.execute(change.encode())
                except psycopg.errors.InsufficientPrivilege:
                    continue
                raise AssertionError(f"{role} may {change}")
