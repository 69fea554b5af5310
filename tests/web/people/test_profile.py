"""The profile page: name, sessions, tokens and second factor of the viewer, and of nobody else."""

import re
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from appliance.people import totp
from appliance.people.role import Role
from appliance.people.throttle import FREE
from appliance.web.people.labels import browser_of
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, client, http_client, signed_in, token_of
from tests.support.web.api_caller import dashboard


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        (None, "Unknown"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 300, "x" * 40),
    ],
)
def test_browsers_have_names(agent: str | None, label: str) -> None:
    assert browser_of(agent) == label


async def test_name_zone_and_theme_are_saved_and_what_is_wrong_comes_back_filled_in(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.VIEWER)
    async with dashboard(database) as served, client(served.url, person) as browser:
        given = {"name": "Ingrid Vik", "time_zone": "Europe/Oslo", "theme": "dark"}
        answer = await browser.post("/profile", data=given)
        assert (answer.status_code, answer.headers["location"]) == (303, "/profile?done=saved")
        page = (await browser.get("/profile?done=saved")).text
        assert "Your profile is saved." in page
        assert 'value="Ingrid Vik"' in page
        wrong = await browser.post("/profile", data={**given, "name": "Ola", "time_zone": "Mars/Base"})
        assert wrong.status_code == 422
        assert 'value="Ola"' in wrong.text
        assert "There is no such time zone; choose one" in wrong.text


async def test_shortcuts_are_on_until_somebody_switches_them_off(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.VIEWER)
    async with dashboard(database) as served, client(served.url, person) as browser:
        given = {"name": "", "time_zone": "", "theme": "system"}
        page = (await browser.get("/profile")).text
        assert ('<html lang="en" data-shortcuts>' in page, 'id="shortcuts"' in page) == (True, True)
        assert (await browser.post("/profile", data=given)).status_code == 303
        page = (await browser.get("/profile")).text
        assert ("data-shortcuts" in page, 'id="shortcuts"' in page) == (False, False)
        assert (await browser.post("/profile", data={**given, "shortcuts": "on"})).status_code == 303
        assert "data-shortcuts" in (await browser.get("/profile")).text


async def test_the_password_wants_the_one_before_and_ends_other_sessions(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, person) as browser:
        elsewhere = await _sign_in_elsewhere(served.url, person.email)
        wrong = await browser.post("/profile/password", data={"current": "no", "password": "another walrus entirely"})
        assert (wrong.status_code, "This is not your password." in wrong.text) == (422, True)
        weak = await browser.post("/profile/password", data={"current": PASSWORD, "password": person.email})
        assert (weak.status_code, "common words" in weak.text) == (422, True)
        assert (await elsewhere.get("/more")).status_code == 200
        done = await browser.post(
            "/profile/password", data={"current": PASSWORD, "password": "another walrus entirely"}
        )
        assert done.headers["location"] == "/profile?done=password"
        assert (await browser.get("/profile")).status_code == 200, "this session goes on"
        assert (await elsewhere.get("/more")).status_code == 303
        await elsewhere.aclose()


async def test_a_browser_left_open_is_not_enough_to_guess_the_password(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, person) as browser:
        tries = [
            await browser.post("/profile/password", data={"current": "no", "password": "x"}) for _ in range(FREE + 5)
        ]
    assert [answer.status_code for answer in tries] == [422] * FREE + [429] * 5
    assert int(tries[-1].headers["retry-after"]) > 0


async def test_sessions_are_listed_and_ended_by_their_owner_alone(database: Database) -> None:
    person, other = signed_in(database.conninfo(), Role.ADMIN), signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, person) as browser:
        elsewhere = await _sign_in_elsewhere(served.url, person.email)
        page = (await browser.get("/profile")).text
        (end,) = re.findall(r'action="(/profile/sessions/[0-9a-f-]+/end)"', page)
        async with client(served.url, other) as other_browser:
            assert (await other_browser.post(end)).status_code == 404
        assert (await elsewhere.get("/more")).status_code == 200
        assert (await browser.post(end)).headers["location"] == "/profile?done=session"
        assert (await elsewhere.get("/more")).status_code == 303
        await elsewhere.aclose()


async def test_a_token_is_shown_once_used_and_revoked(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.VIEWER)
    form = {"name": "cron", "scopes": "read", "days": "30", "current": PASSWORD}
    async with (
        dashboard(database) as served,
        client(served.url, person) as browser,
        client(served.url, None) as program,
    ):
        refused = await browser.post("/profile/tokens/new", data={**form, "current": "no"})
        assert (refused.status_code, 'value="cron"' in refused.text) == (422, True)
        made = await browser.post("/profile/tokens/new", data=form)
        assert made.status_code == 201
        token = re.search(r'id="token"[^>]*>([\w-]{43})<', made.text)
        assert token is not None
        page = (await browser.get("/profile")).text
        assert "cron" in page
        assert token[1] not in page
        bearer = {"Authorization": f"Bearer {token[1]}"}
        assert (await program.get("/customer/devices", headers=bearer)).status_code == 200
        assert (await program.get("/profile", headers=bearer)).status_code == 303, "pages are for people"
        written = await program.post("/customer/sites", json={"site_id": "a"}, headers=bearer)
        assert (written.status_code, written.headers["content-type"]) == (403, "application/problem+json")
        (revoke,) = re.findall(r'action="(/profile/tokens/[0-9a-f-]+/revoke)"', page)
        assert (await browser.post(revoke)).status_code == 303
        gone = await program.get("/customer/devices", headers=bearer)
        assert (gone.status_code, gone.headers["www-authenticate"]) == (401, 'Bearer realm="appliance"')


async def test_a_new_password_lists_the_tokens_and_offers_to_revoke_all(database: Database) -> None:
    person, other = signed_in(database.conninfo(), Role.ADMIN), signed_in(database.conninfo(), Role.ADMIN)
    mine = [token_of(database, person, "{read}") for _ in range(3)]
    theirs = token_of(database, other, "{read}")
    form = {"current": PASSWORD, "password": "another walrus entirely"}
    async with (
        dashboard(database) as served,
        client(served.url, person) as browser,
        client(served.url, None) as program,
    ):

        async def status(token: str) -> int:
            answer = await program.get("/customer/sites", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        done = await browser.post("/profile/password", data=form)
        assert (done.status_code, done.headers["location"]) == (303, "/profile/tokens?done=password")
        page = (await browser.get(done.headers["location"])).text
        assert "Your password is changed." in page
        assert len(re.findall(r'action="/profile/tokens/[0-9a-f-]+/revoke"', page)) == 3
        assert page.count('action="/profile/tokens/revoke-all"') == 1
        assert 'href="/profile/tokens"' in (await browser.get("/profile")).text
        assert [await status(token) for token in (*mine, theirs)] == [200] * 4, "that is for their owner to decide"
        assert (await browser.post("/profile/tokens/revoke-all")).headers["location"] == "/profile?done=tokens"
        assert [await status(token) for token in (*mine, theirs)] == [401] * 3 + [200]
        assert "Revoke all" not in (await browser.get("/profile?done=tokens")).text
        assert "You have no API tokens." in (await browser.get("/profile/tokens")).text
        assert (await browser.post("/profile/tokens/revoke-all")).status_code == 303, "none is left to revoke"
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute("SELECT object_id FROM audit_log WHERE action = 'token.revoke'").fetchall()
    assert len(set(rows)) == 3


async def test_the_second_factor_is_set_up_with_a_code_and_dropped_with_the_password(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, person) as browser:
        page = (await browser.get("/profile/second-factor")).text
        typed = re.search(r'name="secret" value="([^"]+)"', page)
        assert typed is not None
        secret = totp.parse(typed[1])
        assert secret is not None
        assert "otpauth://totp/" in page
        wrong = await browser.post(
            "/profile/second-factor", data={"secret": typed[1], "code": "0", "current": PASSWORD}
        )
        assert (wrong.status_code, typed[1] in wrong.text) == (422, True)
        code = totp.code(secret, int(datetime.now(UTC).timestamp() // totp.STEP))
        done = await browser.post(
            "/profile/second-factor", data={"secret": typed[1], "code": code, "current": PASSWORD}
        )
        assert done.headers["location"] == "/profile?done=factor"
        assert "<dd>On <a" in (await browser.get("/profile")).text
        assert "Turn off" in (await browser.get("/profile/second-factor")).text
        assert (await browser.post("/profile/second-factor/drop", data={"current": "no"})).status_code == 422
        assert (await browser.post("/profile/second-factor/drop", data={"current": PASSWORD})).status_code == 303
    with psycopg.connect(database.conninfo()) as connection:
        statement = "SELECT action FROM audit_log WHERE action LIKE '%second_factor' ORDER BY id"
        rows = connection.execute(statement).fetchall()
    assert rows == [("user.set_second_factor",), ("user.drop_second_factor",)]


async def test_a_token_goes_with_its_user(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    secret = "t" * 43
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
            " VALUES (sha256(%s), %s, 'acme', 't', '{read,write}', now(), now() + interval '1 day')",
            [secret.encode(), person.user_id],
        )
    async with dashboard(database) as served, client(served.url, None) as program:
        bearer = {"Authorization": f"Bearer {secret}"}
        assert (await program.post("/customer/sites", json={"site_id": "a"}, headers=bearer)).status_code == 201
        with psycopg.connect(database.conninfo()) as connection:
            entries = connection.execute("SELECT actor, actor_kind FROM audit_log ORDER BY id").fetchall()
            assert entries == [(f"{person.email} (t)", "token")]
            connection.execute("UPDATE users SET disabled_at = now()")
        assert (await program.get("/customer/sites", headers=bearer)).status_code == 401


async def _sign_in_elsewhere(url: str, email: str) -> httpx.AsyncClient:
    """Another browser of the same person; the caller closes it."""
    browser = http_client(base_url=url)
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await browser.get("/sign-in")).text)
    assert token is not None
    given = {"csrf_token": token[1], "email": email, "password": PASSWORD}
    assert (await browser.post("/sign-in", data=given)).status_code == 303
    return browser
