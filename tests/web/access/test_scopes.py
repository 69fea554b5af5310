"""What a token of the API may do: its scopes, on every route. It never opens a page."""

from collections.abc import Mapping

import pytest

from appliance.people.role import Role, Scope
from appliance.web.access.auth import Public
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in, token_of
from tests.support.web.serving import over
from tests.web.access.role_table import TABLE
from tests.web.access.test_gate import filled, routes

READING = {"GET", "HEAD", "OPTIONS"}
PROGRAMS = ("/customer/", "/operator/")
"""Where the API is; everything else is pages, files and what devices use."""

OPEN_TO: Mapping[Scope, str] = {
    Scope.READ: "every GET of the API that its owner may do",
    Scope.WRITE: "every change of the API that its owner may make, the ways into an account apart",
    Scope.INGEST: "nothing of the API: it is for /ingest alone",
}
"""What each scope opens."""


def _opens(scope: Scope, method: str) -> bool:
    return {Scope.READ: method in READING, Scope.WRITE: method not in READING, Scope.INGEST: False}[scope]


def test_every_scope_has_its_line() -> None:
    assert set(OPEN_TO) == set(Scope)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_opens_what_its_scope_says_and_nothing_else(database: Database, scope: Scope) -> None:
    operator = signed_in(database.conninfo(), Role.OPERATOR)  # whose role is in nobody's way
    bearer = {"Authorization": f"Bearer {token_of(database, operator, f'{{{scope}}}')}"}
    seen = set()
    async with over(database) as served, client(served.url, None, headers=bearer) as program:
        for method, rule in routes(served):
            if rule.websocket or isinstance(TABLE[f"{method} {rule.rule}"], Public):
                continue
            answer = await program.request(method, filled(rule))
            if not rule.rule.startswith(PROGRAMS):
                assert answer.status_code == 303, (method, rule, "a page")
                assert answer.headers["location"].startswith("/sign-in"), (method, rule)
            else:
                missing = answer.status_code == 403 and answer.json()["code"] == "SCOPE_MISSING"
                assert missing is not _opens(scope, method), (method, rule, answer.status_code)
                seen.add(missing)
    assert seen == ({True} if scope is Scope.INGEST else {True, False})


async def test_almost_a_token_opens_nothing(database: Database) -> None:
    operator = signed_in(database.conninfo(), Role.OPERATOR)
    bearer = {"Authorization": "Bearer " + token_of(database, operator, "{read}")[:-1]}
    async with over(database) as served, client(served.url, None, headers=bearer) as program:
        assert (await program.get("/customer/devices")).status_code == 401


async def test_a_session_beside_a_token_of_little_scope_adds_nothing(database: Database) -> None:
    operator = signed_in(database.conninfo(), Role.OPERATOR)
    bearer = {"Authorization": f"Bearer {token_of(database, operator, '{read}')}"}
    async with over(database) as served, client(served.url, operator, headers=bearer) as browser:
        answer = await browser.post("/customer/sites?tenant=acme", json={"site_id": "hall"})
        assert (answer.status_code, answer.json()["code"]) == (403, "SCOPE_MISSING")
