"""``user``, ``token`` and ``setup-link``: the recovery commands, for a person on the machine itself."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.appliance_process import CSRF, ApplianceProcess, started
from tests.support.project import ROOT

pytestmark = pytest.mark.real

USER_ROW = {
    "user_id", "tenant_id", "email", "name", "role", "has_password", "has_second_factor", "time_zone", "theme",
    "shortcuts", "created_at", "last_sign_in_at", "disabled_at",
}  # fmt: skip
PASSWORD = "a heron in a wet field"


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """One appliance for all commands here; each test has users of its own."""
    with started() as process:
        process.tenant("acme")
        yield process


def run(where: ApplianceProcess, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=where.environment(),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def sign_in(where: ApplianceProcess, email: str, password: str) -> int:
    """The status of a sign-in."""
    with httpx.Client(verify=False, base_url=where.run["web_url"]) as browser:
        token = CSRF.search(browser.get("/sign-in").text)
        assert token is not None
        given = {"csrf_token": token[1], "email": email, "password": password}
        return browser.post("/sign-in", data=given).status_code


def use(link: str, password: str) -> int:
    """The status of a password set by a link."""
    with httpx.Client(verify=False) as browser:
        token = CSRF.search(browser.get(link).text)
        return (
            404
            if token is None
            else browser.post(link, data={"csrf_token": token[1], "password": password}).status_code
        )


def test_user_add_prints_a_link_with_which_the_password_is_chosen(running: ApplianceProcess) -> None:
    made = running.command("user", "add", "Ingrid@Acme.example", "--role", "admin", "--tenant", "acme")
    assert {key: made[key] for key in ("email", "role", "tenant_id")} == {
        "email": "ingrid@acme.example",
        "role": "admin",
        "tenant_id": "acme",
    }
    assert made["link"].startswith(f"{running.run['web_url']}/link/")
    assert use(made["link"], "short") == 422
    assert use(made["link"], PASSWORD) == 303
    assert use(made["link"], PASSWORD) == 404
    assert sign_in(running, "ingrid@acme.example", PASSWORD) == 303
    assert made["link"].rpartition("/")[2] not in running.log.read_text()


def test_user_add_takes_a_password_from_standard_input(running: ApplianceProcess) -> None:
    arguments = ("user", "add", "ops@acme.example", "--role", "operator", "--password-stdin", "--json")
    done = run(running, *arguments, given=f"{PASSWORD}\n")
    assert set(json.loads(done.stdout)) == {"user_id", "email", "role", "tenant_id"}
    assert sign_in(running, "ops@acme.example", PASSWORD) == 303
    weak = run(running, *arguments[:2], "other@acme.example", *arguments[3:], given="password1234\n")
    assert (weak.returncode, weak.stdout) == (1, "")
    assert "common words" in weak.stderr
    assert running.query("SELECT 1 FROM users WHERE email = 'other@acme.example'") == []


def test_user_list_reset_disable_and_enable(running: ApplianceProcess) -> None:
    running.command("user", "add", "kim@acme.example", "--role", "viewer", "--tenant", "acme")
    first = running.command("user", "reset", "kim@acme.example")["link"]
    second = running.command("user", "reset", "kim@acme.example")["link"]
    assert use(first, PASSWORD) == 404, "a newer link is there"
    assert use(second, PASSWORD) == 303
    (row,) = [row for row in running.command("user", "list", "--tenant", "acme") if row["email"] == "kim@acme.example"]
    assert set(row) == USER_ROW
    assert row["has_password"]
    assert running.command("user", "disable", "kim@acme.example")["disabled_at"] is not None
    assert sign_in(running, "kim@acme.example", PASSWORD) == 401
    assert running.command("user", "enable", "kim@acme.example")["disabled_at"] is None
    assert sign_in(running, "kim@acme.example", PASSWORD) == 303
    kinds = running.query("SELECT DISTINCT actor_kind FROM audit_log WHERE action IN ('user.reset', 'user.disable')")
    assert kinds == [("command",)]


def test_token_add_prints_a_token_once(running: ApplianceProcess) -> None:
    running.command("user", "add", "bot@acme.example", "--role", "viewer", "--tenant", "acme")
    token = running.command("token", "add", "bot@acme.example", "--scopes", "read,write", "--days", "30")["token"]
    assert re.fullmatch(r"[\w-]{43}", token)
    assert running.query("SELECT scopes FROM api_tokens") == [(["read", "write"],)]
    assert token not in running.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["user", "add", "no-address", "--role", "viewer", "--tenant", "acme"], "Enter one e-mail address"),
        (["user", "add", "x@y.example", "--role", "viewer"], "An operator belongs to no tenant"),
        (["user", "add", "x@y.example", "--role", "viewer", "--tenant", "never"], "There is no tenant never."),
        (["user", "reset", "never@acme.example"], "There is no user never@acme.example."),
        (["token", "add", "never@acme.example"], "There is no user never@acme.example."),
        (["token", "add", "never@acme.example", "--scopes", "all"], "The scopes are read, write, ingest."),
    ],
)
def test_what_cannot_be_is_one_line(running: ApplianceProcess, arguments: list[str], words: str) -> None:
    done = run(running, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_setup_link_is_for_an_appliance_without_people(running: ApplianceProcess) -> None:
    running.command("user", "add", "anybody@acme.example", "--role", "viewer", "--tenant", "acme")
    done = run(running, "setup-link")
    assert (done.returncode, done.stdout) == (1, "")
    assert "already set up" in done.stderr
