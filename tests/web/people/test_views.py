"""Users and tokens: pages and API, for admins in their tenant and for operators everywhere."""

import csv
import io
import re

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, client, signed_in, token_of
from tests.support.web.api_caller import calling, dashboard
from tests.support.web.browsing import browsing, send


async def test_an_admin_invites_and_the_link_leads_in(database: Database) -> None:
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        assert (await browser.get("/users/new")).status_code == 200
        kim = {"email": "kim@acme.example", "name": "Kim", "role": "responder", "current": PASSWORD}
        made = await browser.post("/users/new", data=kim)
        assert made.status_code == 201
        link = re.search(r'id="link"[^>]*>([^<]+)<', made.text)
        assert link is not None
        assert link[1].startswith(f"{served.url}/link/")
        page = (await browser.get("/users")).text
        assert "Kim" in page
        assert "Invited" in page
        async with browsing(served) as new_device:
            path = link[1].removeprefix(served.url)
            assert (await send(new_device, path, password=PASSWORD)).status_code == 303
            assert (await send(new_device, "/sign-in", email="kim@acme.example", password=PASSWORD)).status_code == 303


async def test_a_wrong_invitation_comes_back_filled_in_with_the_field_named(database: Database) -> None:
    admin = signed_in(database.conninfo(), Role.ADMIN)
    async with dashboard(database) as served, client(served.url, admin) as browser:
        nobody = {"email": "no-address", "name": "Kim", "role": "admin", "current": PASSWORD}
        wrong = await browser.post("/users/new", data=nobody)
        assert wrong.status_code == 422
        assert 'value="Kim"' in wrong.text
        assert 'aria-invalid="true"' in wrong.text
        operator = await browser.post("/users/new", data={"email": "a@b.c", "role": "operator"})
        assert operator.status_code == 422
        twice = await browser.post("/users/new", data={"email": admin.email, "role": "viewer", "current": PASSWORD})
        assert "is a user already" in twice.text


async def test_role_reset_disable_and_enable_on_the_page(database: Database) -> None:
    admin, other = signed_in(database.conninfo(), Role.ADMIN), signed_in(database.conninfo(), Role.VIEWER)
    here = f"/users/{other.user_id}"
    async with dashboard(database) as served, client(served.url, admin) as browser, client(served.url, other) as them:
        changed = await browser.post(f"{here}/role", data={"role": "responder", "was": "viewer"})
        assert changed.headers["location"] == f"{here}?done=role"
        stale = await browser.post(f"{here}/role", data={"role": "admin", "was": "viewer", "role_password": PASSWORD})
        assert (stale.status_code, "changed by someone else" in stale.text) == (409, True)
        assert (await them.get("/more")).status_code == 200
        reset = await browser.post(f"{here}/reset", data={"access_password": PASSWORD})
        assert 'id="link"' in reset.text
        assert (await them.get("/more")).status_code == 303, "a reset ends sessions"
        assert (await browser.post(f"{here}/disable")).headers["location"] == f"{here}?done=disabled"
        assert ">Enable<" in (await browser.get(here)).text
        assert (await browser.post(f"{here}/enable", data={"access_password": PASSWORD})).status_code == 303
        own = await browser.post(f"/users/{admin.user_id}/disable")
        assert (own.status_code, "disable yourself" in own.text) == (409, True)


async def test_the_list_is_searched_filtered_and_paged(database: Database) -> None:
    admin = signed_in(database.conninfo(), Role.ADMIN, email="admin@acme.example")
    for number in range(60):
        signed_in(database.conninfo(), Role.VIEWER, email=f"user{number:02}@acme.example")
    async with dashboard(database) as served, client(served.url, admin) as browser:
        first = (await browser.get("/users")).text
        assert "user48@" in first
        assert "user49@" not in first
        onward = re.search(r'rel="next" href="([^"]+)"', first)
        assert onward is not None
        assert "user59@" in (await browser.get(onward[1].replace("&amp;", "&"))).text
        found = (await browser.get("/users?q=user07")).text
        assert "user07@" in found
        assert "user08@" not in found
        assert f"/users/{admin.user_id}" not in (await browser.get("/users?role=viewer")).text
        assert "No users match" in (await browser.get("/users?q=%00nobody")).text
        assert (await browser.get("/users?cursor=nonsense")).status_code == 400
        assert "No users match" in (await browser.get("/users?state=disabled")).text
        file = await browser.get("/users?role=viewer&format=csv")
        by_api = await browser.get("/customer/users?role=viewer", headers={"Accept": "text/csv"})
        assert file.text == by_api.text
        head, *rows = csv.reader(io.StringIO(file.text.removeprefix("\ufeff")))
        assert head[:5] == ["tenant_id", "email", "name", "role", "state"]
        assert [row[1] for row in rows] == [f"user{number:02}@acme.example" for number in range(60)]


async def test_the_api_does_the_same(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database) as caller:
        own = {"password": PASSWORD}
        new = {"email": "kim@acme.example", "role": "viewer", **own}
        made = await caller.ask("POST", "/customer/users", 201, json=new)
        user = f"/customer/users/{made['user']['user_id']}"
        assert made["link"].startswith(f"{served.url}/link/")
        assert (await caller.ask("GET", user))["has_password"] is False
        assert (await caller.ask("PATCH", user, json={"role": "admin", **own}))["role"] == "admin"
        assert (await caller.ask("PATCH", user, json={"disabled": True}))["disabled_at"] is not None
        assert (await caller.ask("POST", f"{user}/reset", 409, json=own))["code"] == "CONFLICT"
        assert (await caller.ask("PATCH", user, json={"disabled": False, **own}))["disabled_at"] is None
        assert (await caller.ask("POST", f"{user}/reset", json=own))["link"] != made["link"]
        page = await caller.ask("GET", "/customer/users?limit=1")
        rest = await caller.ask("GET", f"/customer/users?limit=1&cursor={page['next']}")
        assert {page["items"][0]["email"], rest["items"][0]["email"]} == {"kim@acme.example", caller.person.email}
        assert rest["next"] is None
        assert (await caller.ask("GET", f"{user}/tokens"))["items"] == []
        wrong = await caller.ask("POST", "/customer/users", 400, json={**new, "email": "nobody"})
        assert wrong["field"] == "email"
        for role in ("god", "operator"):
            refused = await caller.ask("POST", "/customer/users", 400, json={**new, "role": role})
            assert refused["field"] == "role"


async def test_operators_see_everybody_and_name_the_tenant_of_a_new_user(database: Database) -> None:
    signed_in(database.conninfo(), Role.ADMIN, "globex", email="admin@globex.example")
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        everybody = await caller.ask("GET", "/customer/users")
        assert {user["tenant_id"] for user in everybody["items"]} == {None, "globex"}
        assert [user["email"] for user in (await caller.ask("GET", "/customer/users?tenant=globex"))["items"]] == [
            "admin@globex.example"
        ]
        new = {"email": "kim@globex.example", "role": "viewer", "password": PASSWORD}
        assert (await caller.ask("POST", "/customer/users", 400, json=new))["field"] == "tenant"
        made = await caller.ask("POST", "/customer/users?tenant=globex", 201, json=new)
        assert made["user"]["tenant_id"] == "globex"
        assert (await caller.ask("POST", "/customer/users", 201, json={**new, "role": "operator"}))["user"][
            "tenant_id"
        ] is None
        await caller.ask("GET", f"/customer/users/{made['user']['user_id']}?tenant=acme", 404)


async def test_ones_own_tokens_and_sessions_over_the_api(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    new = {"name": "cron", "scopes": ["read", "write"], "password": PASSWORD, "days": 7}
    async with dashboard(database) as served, client(served.url, person) as own, client(served.url, None) as program:
        assert (await own.post("/customer/tokens", json={**new, "password": "no"})).json()["field"] == "password"
        token = (await own.post("/customer/tokens", json=new)).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await program.get("/customer/tokens", headers=bearer)).json()["items"][0]["name"] == "cron"
        more = await program.post("/customer/tokens", json=new, headers=bearer)
        assert (more.status_code, "A token cannot" in more.text) == (403, True)
        (session,) = (await own.get("/customer/sessions")).json()["items"]
        assert session["this_one"] is True
        (listed,) = (await own.get("/customer/tokens")).json()["items"]
        assert (await own.delete(f"/customer/tokens/{listed['token_id']}")).status_code == 204
        assert (await own.delete(f"/customer/tokens/{listed['token_id']}")).status_code == 404
        assert (await own.delete(f"/customer/sessions/{session['session_id']}")).status_code == 204
        assert (await own.get("/customer/sessions")).status_code == 401


async def test_an_admin_revokes_the_token_of_a_user(database: Database) -> None:
    admin, other = signed_in(database.conninfo(), Role.ADMIN), signed_in(database.conninfo(), Role.VIEWER)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
            " VALUES (sha256('t'), %s, 'acme', 'old script', '{read}', now(), now() + interval '1 day')",
            [other.user_id],
        )
    async with dashboard(database) as served, client(served.url, admin) as browser:
        page = (await browser.get(f"/users/{other.user_id}")).text
        assert "old script" in page
        (revoke,) = re.findall(r'action="(/users/[^"]+/revoke)"', page)
        assert (await browser.post(revoke)).status_code == 303
        assert "old script" not in (await browser.get(f"/users/{other.user_id}")).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER])
async def test_others_have_no_such_page(database: Database, role: Role) -> None:
    person = signed_in(database.conninfo(), role)
    async with dashboard(database) as served, client(served.url, person) as browser:
        page = await browser.get("/users")
    assert page.status_code == 403
    assert 'href="/users"' not in page.text


async def test_a_reset_ends_sessions_and_tokens_and_says_that_the_second_factor_is_gone(database: Database) -> None:
    admin, user = (signed_in(database.conninfo(), role) for role in (Role.ADMIN, Role.VIEWER))
    arrange(
        database,
        "UPDATE users SET totp_secret = '\\x00', totp_step = 1, second_factor_since = now()"
        f" WHERE user_id = '{user.user_id}'",
    )
    token = {"Authorization": f"Bearer {token_of(database, user, '{read}')}"}
    async with dashboard(database) as served, client(served.url, admin) as own, client(served.url, None) as program:
        assert (await program.get("/customer/devices", headers=token)).status_code == 200
        body = {"drop_second_factor": True, "password": PASSWORD}
        answer = (await own.post(f"/customer/users/{user.user_id}/reset", json=body)).json()
        assert answer["user"]["has_second_factor"] is False
        assert (await program.get("/customer/devices", headers=token)).status_code == 401
    assert look(database, "SELECT count(*) FROM sessions WHERE user_id = %s", user.user_id) == [(0,)]
