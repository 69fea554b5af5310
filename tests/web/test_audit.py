"""The audit: by person, object, action and time, on the page, over the API and as a file."""

import csv
import io

import psycopg

from appliance.people.role import Role
from tests.postgres_server import Database
from tests.web.people import client, signed_in
from tests.web.told import calling, dashboard


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


async def test_an_admin_reads_the_tenants_changes_newest_first(database: Database) -> None:
    fill(database)
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        page = (await browser.get("/audit")).text
        assert page.index("pump-3") < page.index("pump-1")
        assert "kim@acme.example" in page
        assert "name: =1+1 → Pump 3" in page
        assert "bo@globex.example" not in page
        assert "janitor" not in page
        assert "pump-1" not in (await browser.get("/audit?object=device/pump-2")).text
        assert "No change fits" in (await browser.get("/audit?actor=nobody")).text
        late = (await browser.get("/audit?from=2026-11-20T10:02Z&to=2026-11-20T10:02:30Z")).text
        assert "pump-2" in late
        assert "pump-3" not in late


async def test_what_cannot_be_asked_names_the_parameter(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database) as caller:
        for wrong, field in (("from=soon", "from"), ("to=1e999", "to"), ("cursor=x", "cursor"), ("actor=%00", "actor")):
            assert (await caller.ask("GET", f"/customer/audit?{wrong}", 400))["field"] == field


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
