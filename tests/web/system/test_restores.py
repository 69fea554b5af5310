"""Notices held since a restore: told to operators, and sent again once the old machine is said to be off."""

import psycopg

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over

TOLD = "Notices wait until you say that the old machine is off"


def hold(database: Database) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO restores (restored_at, made_at) VALUES (now(), now() - interval '1 day')")


async def test_operators_see_the_hold_on_every_page_and_end_it(database: Database) -> None:
    hold(database)
    operator, admin = signed_in(database.conninfo()), signed_in(database.conninfo(), Role.ADMIN)
    async with over(database) as served, client(served.url, None) as asking:
        for path in ("/", "/devices", "/system"):
            assert TOLD in (await asking.get(path, headers=operator.headers())).text, path
        assert TOLD not in (await asking.get("/devices", headers=admin.headers())).text
        assert "Notices held" in (await asking.get("/system", headers=operator.headers())).text
        assert (await asking.get("/operator/system", headers=operator.headers())).json()["restore"]["held"] == 0
        assert "Is the old machine off?" in (await asking.get("/system/restore", headers=operator.headers())).text
        done = await asking.post("/system/restore", data={}, headers=operator.headers())
        assert (done.status_code, done.headers["location"]) == (303, "/system?done=restore")
        again = await asking.post("/system/restore", data={}, headers=operator.headers())
        assert (again.status_code, "not held" in again.text) == (409, True)
        assert (await asking.get("/operator/system", headers=operator.headers())).json()["restore"] is None
    with psycopg.connect(database.conninfo()) as connection:
        audit = connection.execute("SELECT action, actor FROM audit_log WHERE action LIKE 'restore.%'").fetchall()
    assert [action for action, _ in audit] == ["restore.confirm"]


async def test_the_api_ends_the_hold_and_says_so_once(database: Database) -> None:
    hold(database)
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        done = await asking.post("/operator/system/restore/confirm", headers=operator.headers())
        assert (done.status_code, done.json()) == (200, {"released": 0})
        again = await asking.post("/operator/system/restore/confirm", headers=operator.headers())
        assert again.status_code == 409
