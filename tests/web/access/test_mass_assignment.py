"""A request changes what its form asks for, and nothing that it merely mentions: no tenant, role or state of choice."""

from typing import Any

import psycopg
import pytest

from appliance.people.role import Role
from appliance.web.openapi.describe import declared
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import without_database

MENTIONED: dict[str, Any] = {
    "tenant_id": "globex", "user_id": "00000000-0000-0000-0000-000000000001", "role": "operator",
    "password_hash": "$argon2id$x", "disabled_at": None, "totp_secret": "x", "active_device_count": 0,
    "device_limit": 1_000_000, "created_at": "2000-01-01T00:00:00Z", "__class__": "x", "csrf_token": "x",
}  # fmt: skip
"""What no form of a customer asks for."""


async def test_every_body_of_the_api_refuses_what_it_does_not_know_and_nothing_may_name_a_tenant() -> None:
    async with without_database() as served:
        for rule in served.app.url_map.iter_rules():
            operation = declared(served.app.view_functions[rule.endpoint])
            if operation is None or operation.body is None:
                continue
            assert operation.body.__struct_config__.forbid_unknown_fields, rule
            if not rule.rule.startswith("/operator/"):
                assert not {"tenant_id", "user_id"} & set(operation.body.__struct_fields__), rule


@pytest.mark.parametrize("name", sorted(MENTIONED))
async def test_what_is_merely_mentioned_is_refused_by_its_name(database: Database, name: str) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    valid: dict[str, dict[str, Any]] = {
        "/customer/sites": {"site_id": "a"},
        "/customer/metrics": {"name": "a"},
        "/customer/devices": {"device_id": "a"},
        "/customer/alert-rules": {"name": "a", "severity": "low", "kind": "no_data", "seconds": 60},
        "/customer/users": {"email": "a@b.c", "role": "viewer", "password": PASSWORD},
    }
    async with dashboard(database) as served, client(served.url, person) as asking:
        for path, given in valid.items():
            if name in given:
                continue
            answer = await asking.post(path, json={**given, name: MENTIONED[name]})
            assert (answer.status_code, answer.json().get("field")) == (400, name), (path, answer.text)
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM sites").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


async def test_a_form_takes_what_it_asks_for_and_leaves_the_rest(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN, email="ingrid@acme.example")
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'globex')")
    mentioned = {name: str(value) for name, value in MENTIONED.items() if name not in {"role", "csrf_token"}}
    mentioned |= {"tenant": "globex", "email_verified": "1"}
    async with dashboard(database) as served, client(served.url, person) as browser:
        profile = {
            "name": "Ingrid",
            "time_zone": "",
            "theme": "dark",
            "role": "operator",
            "email": "x@y.z",
            **mentioned,
        }
        assert (await browser.post("/profile", data=profile)).status_code == 303
        invited = {"email": "kim@acme.example", "name": "Kim", "role": "viewer", "current": PASSWORD, **mentioned}
        assert (await browser.post("/users/new?tenant=globex", data=invited)).status_code == 201
        site = {"site_id": "hall", "name": "Hall", **mentioned}
        assert (await browser.post("/sites/+new?tenant=globex", data=site)).status_code == 303
    with psycopg.connect(database.conninfo()) as connection:
        people = connection.execute("SELECT email, role, tenant_id, name FROM users ORDER BY email").fetchall()
        sites = connection.execute("SELECT tenant_id, site_id FROM sites").fetchall()
    assert people == [(person.email, "admin", "acme", "Ingrid"), ("kim@acme.example", "viewer", "acme", "Kim")]
    assert sites == [("acme", "hall")]


async def test_a_tenant_in_the_query_moves_no_customers_change_elsewhere(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    signed_in(database.conninfo(), Role.ADMIN, "globex")
    async with dashboard(database) as served, client(served.url, person) as asking:
        made = await asking.post("/customer/sites?tenant=globex", json={"site_id": "hall"})
        assert (made.status_code, made.json()["tenant_id"]) == (201, "acme")
        new = {"email": "a@b.c", "role": "viewer", "password": PASSWORD}
        made = await asking.post("/customer/users?tenant=globex&tenant=initech", json=new)
        assert (made.status_code, made.json()["user"]["tenant_id"]) == (201, "acme")
