"""The gate: who comes in where, and whose form it was. Every route of the application stands in the table."""

import re
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from werkzeug.routing import Rule

from appliance.people.role import Role
from appliance.web.access.auth import Public, allow, allowed_of
from appliance.web.access.gate import FIELD, HEADER, own_path
from appliance.web.http.cookies import BROWSER, SESSION
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, http_client, signed_in
from tests.support.web.serving import Served, over, without_database
from tests.web.access.role_table import TABLE

PLACE = re.compile(r"<((?P<kind>\w+)(\((?P<one>\w+)[^)]*\))?:)?\w+>")
SOMETHING = {"uuid": str(uuid4())}


def routes(served: Served) -> Iterator[tuple[str, Rule]]:
    """Every method of every route."""
    for rule in served.app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule


async def test_the_table_and_the_application_know_the_same_routes_and_the_same_roles() -> None:
    async with without_database() as served:
        found = {
            f"{method} {rule.rule}": allowed_of(served.app.view_functions[rule.endpoint])
            for method, rule in routes(served)
        }
    assert {route: who for route, who in found.items() if TABLE.get(route) != who} == {}, "not as the table says"
    assert sorted(set(TABLE) - set(found)) == [], "a route that is gone must leave the table"


async def test_an_endpoint_that_says_nothing_lets_nobody_in() -> None:
    async with without_database() as served, client(served.url, None, cookies={SESSION.name: "x"}) as asking:

        @served.app.get("/forgotten-by-its-author")
        async def forgotten() -> str:
            return "secret"

        answer = await asking.get("/forgotten-by-its-author")
    assert answer.status_code == 403
    assert "secret" not in answer.text


def test_a_public_audience_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="cannot be combined"):
        allow(Public.OPEN, Role.ADMIN)


async def test_a_visitor_is_sent_to_the_sign_in_and_back_to_the_page_they_wanted(database: Database) -> None:
    async with over(database) as served, client(served.url, None) as visitor:
        page = await visitor.get("/?a=b&c=d")
        part = await visitor.get("/", headers={"HX-Request": "true"})
        unknown = await visitor.get("/nothing-here")
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=/%3Fa%3Db%26c%3Dd")
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in")
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        ("/devices?status=OFFLINE", "/devices?status=OFFLINE"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nLocation: x", "/"),
        ("", "/"),
    ],
)
def test_next_leads_to_own_paths_only(given: str, followed: str) -> None:
    assert own_path(given) == followed


@pytest.mark.parametrize("who", [None, *Role])
async def test_each_role_gets_where_the_table_lets_it_and_nowhere_else(database: Database, who: Role | None) -> None:
    person = None if who is None else signed_in(database.conninfo(), who)
    async with over(database) as served, client(served.url, person) as asking:
        for method, rule in routes(served):
            allowed = TABLE[f"{method} {rule.rule}"]
            if rule.websocket or isinstance(allowed, Public) or rule.endpoint == "sign_in.sign_out":
                continue
            status = (await asking.request(method, filled(rule))).status_code
            if who is None:
                assert status in {303, 401}, (method, rule, status)
            else:
                assert (status == 403) == (who not in allowed), (who, method, rule, status)


async def test_every_change_needs_the_token_of_its_own_session(database: Database) -> None:
    person, other = (signed_in(database.conninfo(), Role.OPERATOR) for _ in range(2))
    async with over(database) as served, http_client(base_url=served.url) as asking:
        cookies = f"{SESSION.name}={person.secret}; {BROWSER.name}=browser"
        for method, rule in routes(served):
            if method == "GET" or TABLE[f"{method} {rule.rule}"] is Public.OPEN:
                continue
            for given in ({}, {HEADER: other.csrf}, {HEADER: ""}):
                answer = await asking.request(method, filled(rule), headers={"Cookie": cookies, **given})
                assert answer.status_code == 403, (method, rule, given)
                assert "out of date" in answer.text, (method, rule)
            foreign = {"Cookie": cookies, HEADER: person.csrf}
            for header in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = await asking.request(method, filled(rule), headers=foreign | header)
                assert answer.status_code == 403, (method, rule, header)
                assert "another site" in answer.text, (method, rule)


async def test_the_token_may_come_as_a_field_of_the_form(database: Database) -> None:
    person = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, None) as asking:
        headers = {"Cookie": f"{SESSION.name}={person.secret}", "Origin": served.url, "Sec-Fetch-Site": "same-origin"}
        answer = await asking.post("/sign-out", data={FIELD: person.csrf}, headers=headers)
    assert answer.status_code == 303


async def test_a_session_ends_by_sign_out_by_time_and_with_its_user(database: Database) -> None:
    people = [signed_in(database.conninfo()) for _ in range(5)]
    ends = {
        1: "UPDATE sessions SET idle_until = now() - interval '1 second' WHERE user_id = %s",
        2: "UPDATE sessions SET expires_at = now() - interval '1 second' WHERE user_id = %s",
        3: "UPDATE users SET disabled_at = now() WHERE user_id = %s",
        4: "DELETE FROM sessions WHERE user_id = %s",
    }
    async with over(database) as served:
        for place, person in enumerate(people):
            async with client(served.url, person) as asking:
                assert (await asking.get("/")).status_code == 200
                if place in ends:
                    with psycopg.connect(database.conninfo()) as connection:
                        connection.execute(ends[place].encode(), [person.user_id])
                else:
                    out = await asking.post("/sign-out")
                    assert out.headers["set-cookie"].startswith(f"{SESSION.name}=;")
                assert (await asking.get("/")).status_code == 303, place


def filled(rule: Rule) -> str:
    """A path of the rule, with something of its kind in each of its places."""
    return PLACE.sub(lambda found: SOMETHING.get(found["kind"] or "", found["one"] or "1"), rule.rule)


async def test_what_is_nowhere_is_told_in_the_frame_of_whoever_asks(database: Database) -> None:
    """The same page as for what is not theirs; a visitor is shown no navigation, and the way in."""
    person = signed_in(database.conninfo(), Role.VIEWER)
    async with (
        over(database) as served,
        client(served.url, person) as browser,
        client(served.url, None) as visitor,
    ):
        unknown, missing = await browser.get("/nothing"), await browser.get("/devices/nothing")
        assert (unknown.status_code, missing.status_code) == (404, 404)
        assert 'aria-label="Main"' in unknown.text
        assert "Go to the overview" in unknown.text
        theirs = await visitor.get("/nothing")
        assert theirs.status_code == 404
        assert 'aria-label="Main"' not in theirs.text
        assert ">Sign in</a>" in theirs.text
