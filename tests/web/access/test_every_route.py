"""What holds for every route: reading changes nothing, a fault tells nothing, who is not recognised is not let in."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from structlog.testing import capture_logs
from werkzeug.routing import Rule

from appliance.people.role import Role
from appliance.people.sessions import Visit
from appliance.web.access.auth import Public, Viewer
from tests.browser.pages import PAGES
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.demo_fixture import TENANT, fill_database
from tests.support.web.serving import Served, over, without_database
from tests.web.access.role_table import TABLE
from tests.web.access.test_gate import filled, routes

TOUCHED: Mapping[str, str] = {"sessions": "when it was last used, and so until when it is good"}
"""Tables that a request may write while it reads, and what of them."""
PROGRAMS = ("/customer/", "/operator/")
SECRET = "a secret that a fault happens to hold"


class Unrecognisable:
    """Fails to say who asks."""

    async def by_session(self, secret: str, visit: Visit, *, touch: bool) -> Viewer | None:
        raise RuntimeError(SECRET, secret, visit, touch)

    async def by_token(self, secret: str) -> Viewer | None:
        raise RuntimeError(SECRET, secret)


def stored(database: Database) -> dict[str, str]:
    """A digest of each table, whatever the order of its rows."""
    with psycopg.connect(database.conninfo()) as connection:
        tables = (
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        names = connection.execute(tables).fetchall()
        found = {}
        for (name,) in names:
            rows = connection.execute(f"SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM {name} AS t".encode())
            (text,) = rows.fetchone() or (None,)
            found[name] = hashlib.sha256((text or "").encode()).hexdigest()
    return found


def reading(served: Served) -> list[Rule]:
    """The routes that are read, live sockets apart."""
    return [rule for method, rule in routes(served) if method == "GET" and not rule.websocket]


async def test_reading_any_route_changes_nothing_in_the_database(database: Database) -> None:
    people = fill_database(database.conninfo())
    before = stored(database)
    async with over(database) as served:
        programs = {f"{filled(rule)}?tenant={TENANT}" for rule in reading(served) if rule.rule.startswith(PROGRAMS)}
        asked = {Role.ADMIN: {page.path for page in PAGES}, Role.OPERATOR: programs}
        shown = 0
        for role, paths in asked.items():
            async with client(served.url, people[role]) as asking:
                for path in sorted(paths):
                    shown += (await asking.get(path)).status_code == 200
    assert shown > len(PAGES) / 2, "most of them show something"
    after = stored(database)
    changed = {name for name, digest in after.items() if before.get(name) != digest}
    assert changed - set(TOUCHED) == set()
    assert before.keys() == after.keys()
    assert len(before) > 20


async def test_a_fault_in_any_handler_is_answered_with_an_id_and_nothing_of_its_cause(database: Database) -> None:
    operator = signed_in(database.conninfo(), Role.OPERATOR)

    async with over(database) as served, client(served.url, operator) as asking:
        for endpoint, view in served.app.view_functions.items():
            served.app.view_functions[endpoint] = _failing(view)
        for method, rule in routes(served):
            if rule.websocket or TABLE[f"{method} {rule.rule}"] is Public.SIGN_IN_PAGES:
                continue  # their forms want the browser's own token first
            with capture_logs() as logged:
                answer = await asking.request(method, filled(rule))
            (told,) = (entry for entry in logged if "reference" in entry)
            assert answer.status_code == 500, (method, rule)
            assert told["reference"] in answer.text, (method, rule)
            assert SECRET not in answer.text, (method, rule)
            assert "Traceback" not in answer.text, (method, rule)


async def test_who_cannot_be_recognised_is_let_in_nowhere() -> None:
    async with without_database(identity=Unrecognisable()) as served:
        headers = {"Cookie": "session=x", "Authorization": "Bearer x"}
        async with client(served.url, None, headers=headers) as asking:
            for method, rule in routes(served):
                if rule.websocket or isinstance(TABLE[f"{method} {rule.rule}"], Public):
                    continue
                answer = await asking.request(method, filled(rule))
                assert answer.status_code in {303, 401, 500, 503}, (method, rule, answer.status_code)
                assert SECRET not in answer.text, (method, rule)


def _failing(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that fails, for the same audience."""

    async def fails(**_places: object) -> str:
        raise RuntimeError(SECRET)

    vars(fails).update(vars(view))
    return fails
