"""A change with an Idempotency-Key is carried out once, whatever the network does."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
import trio

from appliance.people.role import Role
from appliance.web.openapi.describe import declared
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, client, signed_in, token_of
from tests.support.web.api_caller import Caller, calling, contract_of, dashboard
from tests.support.web.serving import Served

SITES = "/customer/sites"
REPLAYED = "Idempotency-Replayed"


def a_key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_urlsafe(16)}


@asynccontextmanager
async def callers(database: Database, role: Role = Role.ADMIN) -> AsyncIterator[tuple[Served, Caller]]:
    async with dashboard(database) as served, calling(served, database, role) as caller:
        yield served, caller


def rows(database: Database, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def count(database: Database, what: str) -> int:
    return int(rows(database, f"SELECT count(*) FROM {what}")[0][0])


def same(first: httpx.Response, second: httpx.Response) -> None:
    """Hold that the second is the first once more."""
    assert (second.status_code, second.content) == (first.status_code, first.content)
    left_out = {"date", REPLAYED.lower(), "content-length", "x-request-id"}
    assert {name: value for name, value in second.headers.items() if name not in left_out} == {
        name: value for name, value in first.headers.items() if name not in left_out
    }
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"


SUBSCRIPTION = (
    "INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start,"
    " term_end, status) VALUES (now(), 'acme', 'S1', 'MAIN', 50, now(), now() + interval '90 days', 'ACTIVE')"
)
RULE = {"name": "hot", "severity": "high", "kind": "threshold", "metric": "t", "operator": "GT", "value": 1.5}
WEBHOOK = {"name": "hook", "type": "webhook", "config": {"url": "https://localhost:8443/x"}}
WINDOW = {"name": "night", "kind": "weekly", "weekdays": ["sun"], "start_time": "22:00", "length_minutes": 60}
CREATED: tuple[tuple[Role, str, dict[str, Any], str], ...] = (
    (Role.ADMIN, "/customer/devices", {"device_id": "d1"}, "device_registry WHERE device_id = 'd1'"),
    (Role.ADMIN, SITES, {"site_id": "hall", "name": "Hall"}, "sites WHERE site_id = 'hall'"),
    (Role.ADMIN, "/customer/metrics", {"name": "flow"}, "metrics WHERE name = 'flow'"),
    (Role.ADMIN, "/customer/alert-rules", RULE, "alert_rules WHERE name = 'hot'"),
    (Role.ADMIN, "/customer/integrations", WEBHOOK, "integrations WHERE name = 'hook'"),
    (Role.ADMIN, "/customer/maintenance", WINDOW, "maintenance_windows WHERE name = 'night'"),
    (Role.OPERATOR, "/operator/tenants", {"tenant_id": "globex"}, "tenants WHERE tenant_id = 'globex'"),
    (
        Role.OPERATOR,
        "/operator/subscriptions?tenant=acme",
        {"subscription_type": "MAIN", "device_limit": 5, "term_days": 90},
        "subscriptions WHERE device_limit = 5",
    ),
)


@pytest.mark.parametrize(("role", "path", "body", "made"), CREATED, ids=[path for _, path, *_ in CREATED])
async def test_what_is_created_is_created_once(
    database: Database, role: Role, path: str, body: dict[str, Any], made: str
) -> None:
    async with callers(database, role) as (_, caller):
        signed_in(database.conninfo(), Role.VIEWER, "acme")
        with psycopg.connect(database.conninfo()) as connection:
            if role is Role.ADMIN:
                connection.execute(SUBSCRIPTION)
        key = a_key()
        first = await caller.raw("POST", path, json=body, headers=key)
        assert first.status_code == 201, first.text
        same(first, await caller.raw("POST", path, json=body, headers=key))
        assert count(database, made) == 1
        assert count(database, "api_requests") == 1


async def test_one_request_is_carried_out_once_by_two_processes_at_once(database: Database) -> None:
    """Ten at a time, half of them at another appliance on the same database."""
    answers: list[httpx.Response] = []

    async def ask(number: int, key: dict[str, str], site: str) -> None:
        asking = caller.raw if number % 2 else there.request
        answers.append(await asking("POST", SITES, json={"site_id": site, "name": "x"}, headers=key))

    async with (
        callers(database) as (_, caller),
        dashboard(database) as other,
        client(other.url, caller.person) as there,
    ):
        for number in range(5):
            key, before = a_key(), len(answers)
            async with trio.open_nursery() as nursery:
                for repetition in range(10):
                    nursery.start_soon(ask, repetition, key, f"site-{number}")
            together = answers[before:]
            assert {one.status_code for one in together} == {201}
            assert len({one.content for one in together}) == 1
            assert sum(REPLAYED not in one.headers for one in together) == 1
    assert count(database, "sites WHERE site_id LIKE 'site-%%'") == 5
    assert count(database, "audit_log WHERE action = 'site.create'") == 5


async def test_another_body_another_query_and_another_content_type_are_refused(database: Database) -> None:
    async with callers(database) as (_, caller):
        key, body = a_key(), {"site_id": "a", "name": "A", "time_zone": "UTC"}
        await caller.ask("POST", SITES, 201, json=body, headers=key)
        for path, other in ((SITES, {**body, "name": "B"}), (SITES, {}), (f"{SITES}?tenant=acme", body)):
            refused = await caller.ask("POST", path, 422, json=other, headers=key)
            assert refused["code"] == "KEY_REUSED"
        shuffled = json.dumps(dict(reversed(body.items())), indent=3)
        kind = {"Content-Type": "application/json"}
        again = await caller.raw("POST", SITES, content=shuffled, headers=key | kind)
        assert again.headers[REPLAYED] == "true", "JSON is told by what it says"
    assert rows(database, "SELECT name FROM sites WHERE tenant_id = 'acme'") == [("A",)]


async def test_a_key_belongs_to_one_account_and_one_operation(database: Database) -> None:
    key, body = a_key(), {"site_id": "a", "name": "A"}
    async with callers(database) as (served, caller):
        await caller.ask("POST", SITES, 201, json=body, headers=key)
        async with calling(served, database) as colleague, calling(served, database, tenant_id="rival") as rival:
            assert (await colleague.ask("POST", SITES, 409, json=body, headers=key))["code"] == "CONFLICT"
            assert REPLAYED not in (await rival.raw("POST", SITES, json=body, headers=key)).headers
        assert (await caller.raw("POST", "/customer/metrics", json={"name": "a"}, headers=key)).status_code == 201
    assert count(database, "sites WHERE site_id = 'a'") == 2


async def test_what_is_refused_keeps_no_key(database: Database) -> None:
    async with callers(database) as (_, caller):
        key = a_key()
        await caller.ask("POST", SITES, 400, json={"site_id": "no/id", "name": "A"}, headers=key)
        await caller.ask("POST", SITES, 201, json={"site_id": "taken", "name": "A"})
        await caller.ask("POST", SITES, 409, json={"site_id": "taken", "name": "A"}, headers=key)
        assert count(database, "api_requests") == 0
        await caller.ask("POST", SITES, 201, json={"site_id": "mended", "name": "A"}, headers=key)


async def test_a_key_has_16_to_255_printable_ascii_characters(database: Database) -> None:
    async with callers(database) as (_, caller):
        for number, key in enumerate(("k" * 16, "k" * 255, 'with "quotes" and spaces', "0b7c6f0a-7f0e-4a43")):
            body = {"site_id": f"s{number}", "name": "x"}
            await caller.ask("POST", SITES, 201, json=body, headers={"Idempotency-Key": key})
        for wrong in ("", "k" * 15, "k" * 256, "tab\tis not printable", "ünprintable in ASCII".encode("latin1")):
            headers = {"Idempotency-Key": wrong}
            refused = await caller.ask("POST", SITES, 400, json={"site_id": "x", "name": "x"}, headers=headers)
            assert refused["field"] == "Idempotency-Key"
        twice = [("Idempotency-Key", "k" * 20), ("Idempotency-Key", "l" * 20)]
        refused = await caller.ask("POST", SITES, 400, json={"site_id": "x", "name": "x"}, headers=twice)
        assert refused["field"] == "Idempotency-Key"
    assert count(database, "sites WHERE site_id = 'x'") == 0


async def test_secrets_are_answered_again_and_stand_nowhere(database: Database) -> None:
    async with callers(database) as (_, caller):
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute(SUBSCRIPTION)
        key = a_key()
        first = await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key)
        same(first, await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key))
        rotated_key = a_key()
        rotated = await caller.raw("POST", "/customer/devices/d/rotate", headers=rotated_key)
        same(rotated, await caller.raw("POST", "/customer/devices/d/rotate", headers=rotated_key))
    known = [first.json()["password"], first.json()["token"], rotated.json()["password"], *key.values()]
    kept = b"".join(bytes(sealed) for (sealed,) in rows(database, "SELECT sealed FROM api_requests"))
    hashes = b"".join(bytes(one) for (one,) in rows(database, "SELECT key_hash FROM api_requests"))
    assert len(kept) > 0
    assert [secret for secret in known if secret.encode() in kept + hashes] == []


async def test_a_password_is_checked_again_before_an_answer_is_repeated(database: Database) -> None:
    """Else a key would tell right guesses from wrong ones, without the throttle."""
    async with callers(database) as (served, caller):
        key = a_key()
        body = {"email": "new@acme.example", "role": "viewer", "password": PASSWORD}
        first = await caller.raw("POST", "/customer/users", json=body, headers=key)
        assert first.status_code == 201, first.text
        same(first, await caller.raw("POST", "/customer/users", json=body, headers=key))
        wrong = await caller.ask("POST", "/customer/users", 400, json={**body, "password": "guess"}, headers=key)
        assert wrong["field"] == "password"
        other = await caller.ask("POST", "/customer/users", 422, json={**body, "role": "admin"}, headers=key)
        assert other["code"] == "KEY_REUSED"
        bearer = {"Authorization": f"Bearer {token_of(database, caller.person, '{read,write}')}"}
        async with client(served.url, None) as program:
            refused = await program.post("/customer/users", json=body, headers=key | bearer)
        assert refused.status_code == 403
    assert count(database, "users WHERE email = 'new@acme.example'") == 1
    assert count(database, "links") == 1


async def test_a_token_is_made_once(database: Database) -> None:
    async with callers(database) as (_, caller):
        key, body = a_key(), {"name": "program", "scopes": ["read"], "password": PASSWORD}
        first = await caller.raw("POST", "/customer/tokens", json=body, headers=key)
        assert first.status_code == 201
        same(first, await caller.raw("POST", "/customer/tokens", json=body, headers=key))
    assert count(database, "api_tokens WHERE name = 'program'") == 1


async def test_what_a_browser_was_answered_is_told_to_no_token(database: Database) -> None:
    async with callers(database) as (served, caller):
        key, body = a_key(), {"site_id": "a", "name": "A"}
        await caller.ask("POST", SITES, 201, json=body, headers=key)
        bearer = {"Authorization": f"Bearer {token_of(database, caller.person, '{read,write}')}"}
        async with client(served.url, None) as program:
            refused = await program.post(SITES, json=body, headers=key | bearer)
            assert (refused.status_code, refused.json()["code"]) == (422, "KEY_REUSED")
            own = a_key()
            for replayed in (None, "true"):
                answered = await program.post(SITES, json={"site_id": "b", "name": "B"}, headers=own | bearer)
                assert (answered.status_code, answered.headers.get(REPLAYED)) == (201, replayed)


async def test_a_key_is_free_again_after_a_day(database: Database) -> None:
    async with callers(database) as (_, caller):
        key = a_key()
        await caller.ask("POST", SITES, 201, json={"site_id": "a", "name": "A"}, headers=key)
        [(kept,)] = rows(database, "SELECT until - asked_at FROM api_requests")
        assert kept.total_seconds() == 86_400
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute("UPDATE api_requests SET asked_at = asked_at - interval '25 h', until = now()")
        await caller.ask("POST", SITES, 201, json={"site_id": "b", "name": "B"}, headers=key)
        assert count(database, "api_requests WHERE until > now() + interval '23 h'") == 1


async def test_every_change_of_the_api_that_is_a_post_takes_a_key_and_says_so(database: Database) -> None:
    without = {
        "/customer/alert-rules/preview": "changes nothing",
        "/customer/integration-routes/preview": "changes nothing",
        "/customer/export": "changes nothing but the audit, and is of any length",
        "/customer/subscription/renew": "has keys of its own",
    }
    async with dashboard(database) as served:
        paths = contract_of(served.app).document["paths"]
        posts = {
            rule.rule
            for rule in served.app.url_map.iter_rules()
            if "POST" in (rule.methods or ()) and rule.rule.startswith(("/customer/", "/operator/"))
        }
        takes = {
            rule.rule
            for rule in served.app.url_map.iter_rules()
            if (operation := declared(served.app.view_functions[rule.endpoint])) is not None
            and any(map(operation.takes_key, rule.methods or ()))
        }
        assert takes == posts - without.keys()
        said = {
            path
            for path, methods in paths.items()
            for name, operation in methods.items()
            if name == "post" and [one for one in operation.get("parameters", ()) if one["name"] == "Idempotency-Key"]
        }
        assert len(said) == len(takes) + 1, "that of renewals is described, too"
