"""The sign-in over HTTP: with and without a code, cookies, throttling, one-time links, and the way back."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from appliance.db.trio_psycopg import connect
from appliance.people import links, totp
from appliance.people.links import Purpose
from appliance.people.role import Role
from appliance.people.throttle import FREE
from appliance.web.http.cookies import BROWSER, SESSION
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.browsing import CSRF, browsing, send
from tests.support.web.serving import without_database


async def test_the_right_password_opens_the_page_that_was_asked_for(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, browsing(served) as browser:
        asked = await browser.get("/?range=7d")
        answer = await send(
            browser, "/sign-in", asked.headers["location"], email=person.email, password=PASSWORD, next="/?range=7d"
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/?range=7d")
        page = await browser.get("/")
        assert page.status_code == 200
        assert person.email in page.text


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, browsing(served) as browser:
        answer = await send(browser, "/sign-in", email=person.email, password=PASSWORD)
        kept = await send(browser, "/sign-in", email=person.email, password=PASSWORD, keep="on")
    given = {cookie.partition("=")[0]: cookie for cookie in answer.headers.get_list("set-cookie")}
    assert set(given) == {SESSION.name, BROWSER.name}
    for cookie in given.values():
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert "Secure" not in cookie, "a browser would not keep it over plain HTTP"
    assert "Max-Age" not in given[SESSION.name], "until the browser is closed"
    assert "Max-Age=2592000" in kept.headers.get_list("set-cookie")[0]


async def test_under_tls_they_are_host_cookies_and_others_are_not_read(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    proxied = {"Host": "edge.example"}
    async with (
        dashboard(database, public_url="https://edge.example") as served,
        browsing(served, headers=proxied) as browser,
    ):
        shown = await browser.get("/sign-in")
        token = CSRF.search(shown.text)
        assert token is not None
        secret = shown.headers["set-cookie"].partition("=")[2].partition(";")[0]
        answer = await browser.post(
            "/sign-in",
            data={"csrf_token": token[1], "email": person.email, "password": PASSWORD},
            headers={"Cookie": f"__Host-{BROWSER.name}={secret}", "Origin": "https://edge.example"},
        )
        assert answer.status_code == 303
        cookies = answer.headers.get_list("set-cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == [f"__Host-{SESSION.name}", f"__Host-{BROWSER.name}"]
        assert all("Secure" in cookie for cookie in cookies)
        session = cookies[0].partition("=")[2].partition(";")[0]
        for name, status in ((f"__Host-{SESSION.name}", 200), (SESSION.name, 303)):
            assert (await browser.get("/", headers={"Cookie": f"{name}={session}"})).status_code == status


async def test_each_sign_in_is_a_new_session_and_an_older_cookie_is_not_taken_over(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, browsing(served) as browser:
        browser.cookies.set(SESSION.name, "fixed-by-somebody-else")
        answer = await send(browser, "/sign-in", email=person.email, password=PASSWORD)
        assert answer.status_code == 303
        assert "fixed-by-somebody-else" not in answer.headers["set-cookie"]


async def test_wrong_is_wrong_without_a_word_about_who_exists(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, browsing(served) as browser:
        wrong = await send(browser, "/sign-in", email=person.email, password="not it", next="/devices")
        nobody = await send(browser, "/sign-in", email="nobody@acme.example", password="not it", next="/devices")
    assert (wrong.status_code, nobody.status_code) == (401, 401)
    assert "The e-mail address or the password is not right." in wrong.text
    assert wrong.text.replace(person.email, "X") == nobody.text.replace("nobody@acme.example", "X")
    assert f'value="{person.email}"' in wrong.text, "the form stays filled in"
    assert 'value="/devices"' in wrong.text
    assert "not it" not in wrong.text


async def test_too_many_wrong_tries_say_until_when(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, browsing(served) as browser:
        for _ in range(FREE):
            assert (await send(browser, "/sign-in", email=person.email, password="not it")).status_code == 401
        answer = await send(browser, "/sign-in", email=person.email, password=PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 30
    assert re.search(r"Too many wrong tries\. Try again at \d\d:\d\d:\d\d", answer.text)


async def test_the_second_step_asks_for_a_code(database: Database) -> None:
    person, secret = signed_in(database.conninfo(), Role.ADMIN), totp.new_secret()
    async with dashboard(database) as served, browsing(served) as browser:
        async with served.platform.pool.connection() as connection:
            sealed = served.ports.sign_in._keyring.seal(secret, f"users.totp_secret/{person.user_id}")
            await connection.execute(
                "UPDATE users SET totp_secret = %s, second_factor_since = now() WHERE user_id = %s",
                [sealed, person.user_id],
            )
        asked = await send(browser, "/sign-in", email=person.email, password=PASSWORD, next="/more")
        assert asked.status_code == 200
        assert (await browser.get("/")).status_code == 303, "not yet"
        fields = dict(re.findall(r'name="(csrf_token|next|link)" value="([^"]+)"', asked.text))
        wrong = await browser.post("/sign-in/code", data={**fields, "code": "000000"})
        assert wrong.status_code == 401
        assert "This code is wrong" in wrong.text
        step = int(datetime.now(UTC).timestamp() // totp.STEP)
        answer = await browser.post("/sign-in/code", data={**fields, "code": totp.code(secret, step)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/more")
        assert (await browser.get("/more")).status_code == 200


async def test_several_accounts_of_one_address_are_chosen_from(database: Database) -> None:
    for tenant in ("acme", "globex"):
        signed_in(database.conninfo(), Role.ADMIN, tenant_id=tenant, email="same@both.example")
    async with dashboard(database) as served, browsing(served) as browser:
        asked = await send(browser, "/sign-in", email="same@both.example", password=PASSWORD)
        assert asked.status_code == 422
        assert re.findall(r'name="tenant" value="([^"]*)"', asked.text) == ["acme", "globex"]
        answer = await send(browser, "/sign-in", email="same@both.example", password=PASSWORD, tenant="globex")
        assert answer.status_code == 303
        assert "globex" in (await browser.get("/more")).text


async def test_a_one_time_link_sets_a_password_once(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.VIEWER)
    async with await connect(database.conninfo("appliance_ingest")) as connection:
        end = datetime.now(UTC) + timedelta(hours=1)
        secret = await links.make(connection, Purpose.PASSWORD, end, user_id=person.user_id, tenant_id=person.tenant_id)
    async with dashboard(database) as served, browsing(served) as browser:
        weak = await send(browser, f"/link/{secret}", password="password1234")
        assert weak.status_code == 422
        assert "common words" in weak.text
        done = await send(browser, f"/link/{secret}", password=PASSWORD)
        assert (done.status_code, done.headers["location"]) == (303, "/sign-in?done=password")
        assert "The password is set" in (await browser.get(done.headers["location"])).text
        over, never = await browser.get(f"/link/{secret}"), await browser.get("/link/never-made")
        assert (over.status_code, never.status_code) == (404, 404)
        assert over.text == never.text
        assert (await send(browser, "/sign-in", email=person.email, password=PASSWORD)).status_code == 303


async def test_forgotten_says_who_can_help_and_whoever_is_first_is_told_of_the_set_up_link(database: Database) -> None:
    async with dashboard(database) as served, browsing(served) as browser:
        assert "appliance user reset" in (await browser.get("/forgotten")).text
        assert "appliance setup-link" in (await browser.get("/sign-in")).text
        signed_in(database.conninfo())
        assert "appliance setup-link" not in (await browser.get("/sign-in")).text


async def test_what_a_form_cannot_hold_is_400_and_never_500(database: Database) -> None:
    bad = [
        (b"email=%ff%fe&password=x", "application/x-www-form-urlencoded"),
        (b"email=%00&password=x", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"{" * 100_000, "application/json"),
        (b"[]", "application/json"),
        (b'{"email": 1}', "application/json"),
        (b"\xe9", "application/json"),
        (b"x", "text/plain"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
    ]
    async with dashboard(database) as served, browsing(served) as browser:
        token = CSRF.search((await browser.get("/sign-in")).text)
        assert token is not None
        for body, kind in bad:
            headers = {"Content-Type": kind, "X-CSRF-Token": token[1]}
            answer = await browser.post("/sign-in", content=body, headers=headers)
            assert answer.status_code in {400, 401}, (body, kind, answer.text)


@pytest.mark.parametrize("path", ["/link/", "/set-up/"])
async def test_the_secret_of_a_link_is_in_no_log(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "a-one-time-secret-of-43-characters-or-so"
    async with without_database() as served, browsing(served) as browser:
        assert (await browser.get(path + secret)).status_code == 503
    logged = capsys.readouterr()
    assert "page without postgres" in logged.out
    assert secret not in logged.out + logged.err
