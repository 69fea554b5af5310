"""P19 over HTTP: with a session of tenant A, what is B's is not there; its id guessed right or not, the answer is one.

Every route of the application is tried, with the ids of B's things in the places of its path. A route with a new kind
of place turns this red until the place is in ``Rival``.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from werkzeug.routing import Rule

from appliance.ingest.summary import BatchSummary, LastReading
from appliance.people.role import Role
from appliance.reading import Kind
from appliance.web.access.auth import Public
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.rival import NOTHING, RIVAL, Rival, found
from tests.support.web.serving import Served, page_socket
from tests.web.access.role_table import TABLE

BODIES: tuple[dict[str, Any], ...] = (
    {}, {"name": "taken over"}, {"role": "viewer"}, {"subscription_id": "SUB-1"}, {"password": "a guess"},
)  # fmt: skip
"""Tried with every change: whatever a route reads first, one of them gets past it."""

ASKED = {
    "DELETE /customer/devices/<device_id>": "?history=keep",
    "GET /customer/devices/<device_id>/telemetry": "?metric=temperature",
}
"""Queries without which a route does not look at the thing at all."""


def everything_of(database: Database) -> dict[str, list[Any]]:
    """Every row of B's in every table that has a tenant."""
    with psycopg.connect(database.conninfo()) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
            " WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {
            table: sorted(
                json.dumps(row[0], sort_keys=True)
                for row in connection.execute(
                    f"SELECT to_jsonb(t) FROM {table} AS t WHERE tenant_id = %s".encode(), [RIVAL]
                )
            )
            for (table,) in tables
        }


def routes_with_places(served: Served) -> Iterator[tuple[str, Rule]]:
    """Every method of every route that asks for a session and names a thing."""
    for rule in served.app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if rule.arguments and not rule.websocket and not isinstance(TABLE[f"{method} {rule.rule}"], Public):
                yield method, rule


async def answers(asking: httpx.AsyncClient, method: str, rule: Rule, things: Rival) -> list[httpx.Response]:
    """What comes of it: of a change, with each of the bodies."""
    path = things.path(rule) + ASKED.get(f"{method} {rule.rule}", "")
    if method == "GET":
        return [await asking.get(path)]
    return [await asking.request(method, path, json=body) for body in BODIES]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_with_a_session_of_one_tenant_the_others_things_are_not_there(database: Database, role: Role) -> None:
    rival, person = found(database), signed_in(database.conninfo(), role, "acme")
    before, tried, unreached = everything_of(database), 0, []
    async with dashboard(database) as served, client(served.url, person) as asking:
        for method, rule in routes_with_places(served):
            guessed = await answers(asking, method, rule, rival)
            unknown = await answers(asking, method, rule, NOTHING)
            for mine, nobodys in zip(guessed, unknown, strict=True):
                where = f"{method} {rule.rule}: {mine.status_code} {mine.text[:300]}"
                assert mine.status_code >= 400, where
                assert mine.status_code == nobodys.status_code, where
                assert rival.hide(mine.text) == NOTHING.hide(nobodys.text), where
                tried += 1
            allowed = TABLE[f"{method} {rule.rule}"]
            if not isinstance(allowed, Public) and role in allowed and 404 not in [one.status_code for one in guessed]:
                unreached.append(f"{method} {rule.rule}: {guessed[-1].text[:200]}")
    assert unreached == [], "say in ASKED what gets past the form of the request"
    assert everything_of(database) == before
    assert tried > 50


NAMED_INSIDE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/customer/devices/bulk", {"devices": ["{device_id}"], "step": "deactivate"}),
    ("/customer/devices/bulk", {"devices": ["mine"], "step": "move", "subscription_id": "{subscription_id}"}),
    ("/customer/devices/mine/move", {"subscription_id": "{subscription_id}"}),
    ("/customer/devices", {"device_id": "new-1", "subscription_id": "{subscription_id}"}),
    ("/customer/quarantine/dismiss", {"ids": ["{message_id}"]}),
    ("/customer/quarantine/dismiss", {"device_id": "{device_id}"}),
    ("/customer/quarantine/replay", {"ids": ["{message_id}"]}),
    ("/customer/alerts/bulk", {"action": "close", "alert_ids": ["{alert_id}"]}),
)
"""Changes that name a thing in their body: the path, and the body with places for ids."""


def filled(body: dict[str, Any], things: Rival) -> dict[str, Any]:
    """The body with the ids of these things; those of messages and alerts are numbers."""
    text = json.dumps(body)
    for name in ("message_id", "alert_id"):
        text = text.replace(f'"{{{name}}}"', things.places[name])
    for name, value in things.places.items():
        text = text.replace(f"{{{name}}}", value)
    found: dict[str, Any] = json.loads(text)
    return found


async def test_a_change_that_names_the_others_things_inside_finds_none(database: Database) -> None:
    rival, person = found(database), signed_in(database.conninfo(), Role.ADMIN, "acme")
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
            " VALUES (now(), now(), 'acme', 'mine', 'INACTIVE')"
        )
    before = everything_of(database)
    async with dashboard(database) as served, client(served.url, person) as asking:
        for path, body in NAMED_INSIDE:
            mine, nobodys = [await asking.post(path, json=filled(body, things)) for things in (rival, NOTHING)]
            where = f"{path} {body}: {mine.status_code} {mine.text}"
            assert mine.status_code == nobodys.status_code != 500, where
            assert rival.hide(mine.text) == NOTHING.hide(nobodys.text), where
    assert everything_of(database) == before


async def test_the_live_socket_shows_nothing_of_another_tenant(database: Database) -> None:
    found(database)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    async with dashboard(database) as served:
        now = served.platform.clock.now()
        reading = LastReading(RIVAL, "pump-1", now, now, Kind.TELEMETRY, {"temperature": 1.0})
        served.platform.live.publish(BatchSummary(now, 1, 1, 0, 0, 0, {}, [reading]))
        async with page_socket(served, cookie=person.secret) as page:
            update = await page.get_message()
    assert "pump-1" not in update
    assert RIVAL not in update


async def test_lists_show_nothing_of_another_tenant_even_when_it_is_named(database: Database) -> None:
    rival, person = found(database), signed_in(database.conninfo(), Role.ADMIN, "acme")
    telling = [
        rival.places[name] for name in ("device_id", "site_id", "name", "rule_id", "user_id", "token_id", "session_id")
    ]
    async with dashboard(database) as served, client(served.url, person) as asking:
        for rule in served.app.url_map.iter_rules():
            if rule.arguments or rule.websocket or "GET" not in (rule.methods or ()):
                continue
            plain, named = [await asking.get(rule.rule + query) for query in ("", f"?tenant={RIVAL}")]
            for answer in (plain, named):
                assert [what for what in telling if what in answer.text] == [], rule
            assert plain.status_code == named.status_code, rule
