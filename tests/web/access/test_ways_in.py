"""Every way into an account asks for the password of who opens it, and none is open to a token of the API."""

import ast
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import httpx
import pytest

from appliance.people import totp
from appliance.people.role import Role
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.web.accounts import PASSWORD, Person, client, signed_in, token_of
from tests.support.web.serving import over, without_database
from tests.web.access.account_table import ACCOUNTS, OTHER_FORMS, TABLE, WRITERS, AsksForPassword, Proven

READING = {"GET", "HEAD", "OPTIONS"}
ASKING = [(route, way) for route, way in TABLE.items() if isinstance(way, AsksForPassword)] + [
    (route, AsksForPassword("password", given)) for route, given in OTHER_FORMS
]
WRITING = {"links", "sessions", "signin", "tokens", "totp", "trial", "users"}
"""The modules of ``people`` that write accounts."""
TYPES = {"SignIn", "SignedIn", "Visit", "User", "BROWSER_KNOWN", "KEPT_LIFETIME"}
"""Names in them that write nothing by themselves."""


async def test_every_route_that_changes_accounts_is_in_the_table() -> None:
    async with without_database() as served:
        found = {
            f"{method} {rule.rule}"
            for rule in served.app.url_map.iter_rules()
            if _concept(rule.rule) in ACCOUNTS
            for method in (rule.methods or set()) - READING
        }
    assert found == set(TABLE)


def test_no_other_part_of_the_dashboard_writes_accounts() -> None:
    found = set()
    for path in sorted((ROOT / "appliance" / "web").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "appliance").with_suffix("").parts)
        if any(_writes(ast.parse(path.read_text()))):
            found.add(next((writer for writer in WRITERS if module.startswith(writer)), module))
    assert found == set(WRITERS)


def test_what_proves_who_comes_has_its_test() -> None:
    for way in TABLE.values():
        if isinstance(way, Proven):
            place, name = way.test.split("::")
            assert f"def {name}(" in (ROOT / place).read_text(), way


@pytest.mark.parametrize(("route", "way"), ASKING, ids=[f"{route} {list(way.given)}" for route, way in ASKING])
async def test_what_opens_a_way_into_an_account_asks_for_the_password_and_is_closed_to_tokens(
    database: Database, route: str, way: AsksForPassword
) -> None:
    admin, user = signed_in(database.conninfo(), Role.ADMIN), signed_in(database.conninfo(), Role.VIEWER)
    if "enable" in route or "disabled" in way.given:
        arrange(database, f"UPDATE users SET disabled_at = now() WHERE user_id = '{user.user_id}'")
    if "drop" in route:
        arrange(
            database,
            "UPDATE users SET totp_secret = '\\x00', totp_step = 1, second_factor_since = now()"
            f" WHERE user_id = '{admin.user_id}'",
        )
    people = {"uuid:user_id": user, "own": admin}
    bearer = {"Authorization": f"Bearer {token_of(database, admin, '{read,write}')}"}
    before = look(database, "SELECT count(*) FROM audit_log")
    async with over(database) as served, client(served.url, admin) as own, client(served.url, None) as program:
        answer = await _ask(program, route, people, way, PASSWORD, headers=bearer)
        if "/customer/" in route:
            assert (answer.status_code, "A token cannot" in answer.text) == (403, True)
        else:  # pages know no tokens
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        for wrong in ("not mine", "", None):
            _is_refused_at(way.name, await _ask(own, route, people, way, wrong))
        assert look(database, "SELECT count(*) FROM audit_log") == before
        taken = await _ask(own, route, people, way, PASSWORD)
        assert taken.status_code in {200, 201, 303}, taken.text
    assert look(database, "SELECT count(*) FROM audit_log") != before


def _concept(path: str) -> str:
    """Return the first part of a path, or two below /customer."""
    parts = path.split("/")
    return "/".join(parts[: 3 if parts[1] == "customer" else 2])


async def _ask(
    http: httpx.AsyncClient,
    route: str,
    people: Mapping[str, Person],
    way: AsksForPassword,
    password: str | None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    method, _, rule = route.partition(" ")
    secret = totp.new_secret()
    filled = {"{secret}": totp.typed(secret), "{code}": totp.code(secret, int(datetime.now(UTC).timestamp()) // 30)}
    given = {name: filled.get(value, value) if isinstance(value, str) else value for name, value in way.given.items()}
    if password is not None:
        given[way.name] = password
    address = re.sub(r"<([a-z_:]+)>", lambda found: str(people[found[1]].user_id), rule)
    if rule.startswith("/customer/"):
        return await http.request(method, address, json=given, headers=headers)
    return await http.request(method, address, data=given, headers=headers)


def _is_refused_at(name: str, answer: httpx.Response) -> None:
    if "problem+json" in answer.headers["content-type"]:
        assert (answer.status_code, answer.json()["field"]) == (400, name)
    else:
        assert answer.status_code == 422
        (field,) = re.findall(rf'<input[^>]*name="{name}"[^>]*>', answer.text)
        assert 'aria-invalid="true"' in field


def _writes(tree: ast.AST) -> Iterator[bool]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            last = node.module.removeprefix("appliance.people")
            names = {one.name for one in node.names}
            if node.module == "appliance.people":
                yield bool(names & WRITING)
            elif last != node.module and last.removeprefix(".") in WRITING:
                yield bool(names - TYPES)
