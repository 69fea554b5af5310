"""Operators are asked for the tenant wherever a page belongs to one, and the only one is chosen by itself."""

import re

import httpx
import pytest

from appliance.people.role import Role
from appliance.web.access.auth import OPEN, SIGN_IN_PAGES, Public
from appliance.web.openapi.problem import is_for_programs
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, client, signed_in
from tests.support.web.api_caller import dashboard
from tests.web.access.role_table import TABLE

TENANTS = {
    "none": [],
    "one": [("acme", "Acme Farms")],
    "two": [("acme", "Acme Farms"), ("beta", "")],
}
WORDS = {"int": "1", "uuid": "6f1c2c1e-0000-4000-8000-000000000001", "default": "x"}
"""What stands for a part of a path: nothing has that name."""
ASKED = [
    "/devices/+new",
    "/devices/+import",
    "/sites/+new",
    "/metric-names/+new",
    "/rules/new",
    "/maintenance/+new",
    "/integrations/+new",
    "/routes/+new",
]
"""The forms of what belongs to a tenant."""
LISTS = ["/devices", "/sites", "/metric-names", "/rules", "/maintenance", "/integrations", "/routes", "/users"]


def _path(rule: str) -> str:
    """A path of a route, whose parts are names of nothing, but for choices: the first of them."""
    rule = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule)
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: WORDS.get(found[1] or "default", "x"), rule)


def pages() -> list[str]:
    """Return the path of every page that operators may open."""
    found = []
    for route, allowed in TABLE.items():
        method, _, rule = route.partition(" ")
        if method == "GET" and not isinstance(allowed, Public) and Role.OPERATOR in allowed and rule != "/live":
            found.append(_path(rule))
    return [path for path in found if not is_for_programs(path)]


def made(database: Database, tenants: list[tuple[str, str]]) -> Database:
    """A database with tenants."""
    for tenant_id, name in tenants:
        arrange(
            database,
            "INSERT INTO tenants (created_at, updated_at, tenant_id, name)"
            f" VALUES (now(), now(), '{tenant_id}', '{name}')",
        )
    return database


@pytest.mark.parametrize("tenants", TENANTS)
async def test_no_page_fails_for_want_of_a_tenant(database: Database, tenants: str) -> None:
    made(database, TENANTS[tenants])
    operator = signed_in(database.conninfo(), Role.OPERATOR)
    wanting = {}
    async with dashboard(database) as served, client(served.url, operator) as browser:
        for path in pages():
            page = await browser.get(path)
            if page.status_code == 303:
                assert "tenant=acme" in page.headers["Location"]
                page = await browser.get(page.headers["Location"])
            if page.status_code not in (200, 404):
                wanting[path] = (page.status_code, page.text[:200])
    assert not wanting
    assert len(pages()) > 60


@pytest.mark.parametrize("path", ASKED)
async def test_a_form_asks_which_of_two_tenants_and_keeps_its_address(database: Database, path: str) -> None:
    made(database, TENANTS["two"])
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
    ):
        asked = await operator.get(path, params={"type": "email", "metric": 'a"b'})
        assert asked.status_code == 200
        assert [(one, text) for one, text in re.findall(r'<option value="([^"]*)">([^<]*)<', asked.text)] == [
            ("acme", "Acme Farms (acme)"),
            ("beta", "beta"),
        ]
        assert '<input type="hidden" name="metric" value="a&#34;b">' in asked.text
        kept = dict(re.findall(r'<input type="hidden" name="(type)" value="([^"]*)">', asked.text))
        form = await operator.get(path, params={**kept, "tenant": "beta"})
        assert form.status_code == 200
        assert 'id="f-tenant"' not in form.text
        assert "tenant=beta" in form.text.partition('id="main"')[2]


async def test_the_only_tenant_is_chosen_by_itself_also_for_what_is_sent(database: Database) -> None:
    made(database, TENANTS["one"])
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
    ):
        for path in ASKED:
            there = await operator.get(path, params={"like": "7"})
            assert there.headers["Location"] == f"{path}?like=7&tenant=acme"
        sent = await operator.post("/sites/+new", data={"site_id": "barn"})
        assert (sent.status_code, sent.headers["Location"]) == (307, "/sites/+new?tenant=acme")
        assert (await operator.post(sent.headers["Location"], data={"site_id": "barn"})).status_code == 303
        assert "barn" in (await operator.get("/sites?tenant=acme")).text
        assert 'aria-label="acme. Choose another tenant"' in (await operator.get("/sites")).text
        assert 'action="/devices/+bulk?tenant=acme"' not in (await operator.get("/devices")).text  # no rows


async def test_every_list_offers_operators_to_add_something(database: Database) -> None:
    made(database, TENANTS["two"])
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
    ):
        for path in LISTS:
            assert re.search(rf'href="{path}/\+?new"', (await operator.get(path)).text), path


async def test_a_form_that_is_sent_for_none_of_two_tenants_is_refused(database: Database) -> None:
    made(database, TENANTS["two"])
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
    ):
        refused = await operator.post("/sites/+new", data={"site_id": "barn"})
        assert refused.status_code == 400
        assert "Name the tenant" in refused.text


async def test_programs_name_the_tenant_themselves(database: Database) -> None:
    made(database, TENANTS["one"])
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
    ):
        answer = await operator.post("/customer/sites", json={"site_id": "barn"})
        assert (answer.status_code, answer.json()["field"]) == (400, "tenant")


async def test_an_invitation_asks_for_the_organisation_of_the_user(database: Database) -> None:
    made(database, TENANTS["two"])
    guest = {"email": "kari@acme.example", "name": "Kari", "role": "viewer", "current": PASSWORD}
    async with (
        dashboard(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.OPERATOR)) as operator,
        client(served.url, signed_in(database.conninfo(), Role.ADMIN, "acme")) as admin,
    ):
        assert 'name="tenant"' in (await operator.get("/users/new")).text
        missing = await operator.post("/users/new", data={**guest, "tenant": ""})
        assert missing.status_code == 422
        assert "Choose the organisation" in missing.text
        assert 'value="kari@acme.example"' in missing.text
        assert (await operator.post("/users/new", data={**guest, "tenant": "nobody"})).status_code == 422
        assert (await operator.post("/users/new", data={**guest, "tenant": "beta"})).status_code == 201
        chief = {"email": "chief@appliance.example", "role": "operator", "tenant": "beta", "current": PASSWORD}
        assert (await operator.post("/users/new", data=chief)).status_code == 201
        assert 'name="tenant"' not in (await admin.get("/users/new")).text
        own = await admin.post("/users/new", data={**guest, "email": "ola@acme.example", "tenant": "beta"})
        assert own.status_code == 201
    found = dict(look(database, "SELECT email, tenant_id FROM users"))
    assert found["kari@acme.example"] == "beta"
    assert found["chief@appliance.example"] is None
    assert found["ola@acme.example"] == "acme"


def test_public_pages_are_not_walked() -> None:
    assert "/sign-in" not in pages()
    assert {OPEN, SIGN_IN_PAGES} == set(Public)
    assert httpx.URL("/devices/+new").path in pages()
