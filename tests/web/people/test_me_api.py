"""``/customer/me``: the caller, and what it may change of itself."""

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, token_of
from tests.support.web.api_caller import calling, dashboard

ME = "/customer/me"


@pytest.mark.parametrize("role", list(Role))
async def test_everybody_is_told_who_they_are_and_what_they_may(database: Database, role: Role) -> None:
    async with dashboard(database) as served, calling(served, database, role) as caller:
        person = caller.person
        me = await caller.ask("GET", ME)
        assert (me["user_id"], me["email"], me["role"]) == (str(person.user_id), person.email, role.value)
        assert (me["tenant_id"], me["token"]) == (person.tenant_id, None)
        assert me["limits"].keys() == {"requests_per_minute", "requests_at_once"}
        bearer = {"Authorization": f"Bearer {token_of(database, person, '{write,read}')}"}
        async with client(served.url, None) as program:
            told = (await program.get(ME, headers=bearer)).json()
            assert told["token"] == {"name": "t", "scopes": ["read", "write"]}
            assert {**told, "token": None} == me
            ingesting = {"Authorization": f"Bearer {token_of(database, person, '{ingest}')}"}
            assert (await program.get(ME, headers=ingesting)).status_code == 403
            assert (await program.get(ME)).status_code == 401


async def test_settings_are_changed_one_by_one_and_never_over_somebody_elses_change(database: Database) -> None:
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as caller:
        first = await caller.raw("GET", ME)
        assert first.headers["ETag"] == f'"{first.json()["version"]}"'
        match = {"If-Match": first.headers["ETag"]}
        named = await caller.ask("PATCH", ME, json={"name": "Ingrid Vik", "time_zone": "Europe/Oslo"}, headers=match)
        assert (named["name"], named["time_zone"], named["theme"]) == ("Ingrid Vik", "Europe/Oslo", "system")
        assert named["version"] != first.json()["version"]
        await caller.ask("PATCH", ME, 412, json={"name": "Late"}, headers=match)
        await caller.ask("PATCH", ME, 409, json={"name": "Late", "version": first.json()["version"]})
        dark = await caller.ask("PATCH", ME, json={"theme": "dark", "shortcuts": False, "time_zone": None})
        assert (dark["name"], dark["time_zone"], dark["theme"], dark["shortcuts"]) == (
            "Ingrid Vik",
            None,
            "dark",
            False,
        )
        assert await caller.ask("PATCH", ME, json={}) == dark
        for wrong, field in (
            ({"time_zone": "Mars/Base"}, "time_zone"),
            ({"name": "x" * 129}, "name"),
            ({"theme": "pink"}, "theme"),
            ({"role": "admin"}, "role"),
            ({"email": "other@acme.example"}, "email"),
        ):
            assert (await caller.ask("PATCH", ME, 400, json=wrong))["field"] == field
        assert await caller.ask("GET", ME) == dark
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(
            "SELECT after FROM audit_log WHERE action = 'user.set_profile' ORDER BY id"
        ).fetchall()
    assert [row[0].keys() for row in rows] == [{"name", "time_zone"}, {"time_zone", "theme", "shortcuts"}]
