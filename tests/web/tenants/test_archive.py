"""The export of a tenant: what its admin and an operator download, by page and API."""

import io
import json
import zipfile

import psycopg

from appliance.people.role import Role
from tests.support.offboarding import fill
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard

TENANT, OTHER = "acme", "rival"


def taken_by(database: Database) -> list[tuple[str, str]]:
    """Return who has taken an export of which tenant, as the audit has it."""
    with psycopg.connect(database.conninfo()) as connection:
        query = "SELECT actor, tenant_id FROM audit_log WHERE action = 'tenant.export' ORDER BY id"
        return connection.execute(query.encode()).fetchall()


def tenant_in(data: bytes) -> str:
    """Return whose archive this is, after all of it was read."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    found: str = json.loads(archive.read("manifest.json"))["tenant_id"]
    return found


async def test_an_admin_downloads_the_own_tenant_and_the_audit_says_so(database: Database) -> None:
    fill(database, TENANT, OTHER)
    admin = signed_in(database.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        page = (await browser.get("/export")).text
        assert "about 60, one file a day" in page
        assert "/export" in (await browser.get("/users")).text
        done = await browser.post("/export", params={"tenant": OTHER})
        assert done.headers["Content-Type"] == "application/zip"
        assert done.headers["Content-Disposition"].startswith('attachment; filename="acme-')
        assert tenant_in(done.content) == TENANT, "of whichever tenant the address speaks"
    assert taken_by(database) == [(admin.email, TENANT)]


async def test_an_operator_names_the_tenant_and_programs_do_the_same(database: Database) -> None:
    fill(database, TENANT, OTHER)
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        size = await caller.ask("GET", f"/customer/export?tenant={OTHER}")
        assert (size["tenant_id"], size["devices"], size["readings"], size["alerts"]) == (OTHER, 5, 60, 1)
        taken = await caller.raw("POST", f"/customer/export?tenant={OTHER}")
        assert tenant_in(taken.content) == OTHER
        described = (await caller.ask("GET", "/openapi.json"))["paths"]["/customer/export"]["post"]
        assert list(described["responses"]["200"]["content"]) == [taken.headers["Content-Type"]]
        await caller.ask("POST", "/customer/export", 400)
        await caller.ask("POST", "/customer/export?tenant=nobody", 404)
        question = await caller.ask("GET", f"/operator/tenants/{TENANT}/deletion")
        body = {"tenant_id": TENANT, "version": question["version"]}
        await caller.ask("POST", f"/operator/tenants/{TENANT}/deletion", 202, json=body)
        await caller.ask("POST", f"/customer/export?tenant={TENANT}", 409)
    assert taken_by(database) == [(caller.person.email, OTHER)]
