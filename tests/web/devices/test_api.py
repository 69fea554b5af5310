"""``/customer/devices``: every operation, its refusals, and its walls."""

import json
from typing import Any

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT, add_tenant, announce, check_seats, ingest, sell
from tests.support.web.api_caller import Caller, calling, dashboard

DEVICES = "/customer/devices"


async def prepare(database: Database, *tenants: str, limit: int = 5, strategy: str = "auto") -> None:
    async with ingest(database) as connection:
        for tenant in tenants or (TENANT,):
            await add_tenant(connection, tenant, strategy)
            await sell(connection, limit, tenant_id=tenant)


async def create(caller: Caller, device: str, **more: Any) -> Any:
    return await caller.ask("POST", DEVICES, 201, json={"device_id": device, **more})


async def test_a_device_is_made_with_secrets_shown_once(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await create(admin, "frz-1", name="Freezer", tags=["cold"], site_id="roof", interval=10)
        assert (made["username"], made["staged"], made["broker"]) == ("acme/device/frz-1", False, "no broker")
        assert len(made["password"]) == len(made["token"]) == 24
        answer = await admin.raw("GET", f"{DEVICES}/frz-1")
        device = answer.json()
        assert (device["name"], device["tags"], device["site_id"], device["status"], device["presence"]) == (
            "Freezer",
            ["cold"],
            "roof",
            "ACTIVE",
            "NEW",
        )
        assert device["own_credential"] is True
        for text in (answer.text, (await admin.raw("GET", DEVICES)).text):
            assert made["password"] not in text
            assert made["token"] not in text
        with psycopg.connect(database.conninfo()) as connection:
            audit = connection.execute("SELECT actor, actor_kind, action FROM audit_log ORDER BY id").fetchall()
            secrets = [f"%{made[name]}%" for name in ("password", "token")]
            leaks = connection.execute("SELECT 1 FROM audit_log AS a WHERE a::text LIKE ANY (%s)", [secrets]).fetchall()
            assert leaks == []
        assert audit[-2:] == [
            (admin.person.email, "user", "device.create"),
            (admin.person.email, "user", "credential.create"),
        ]


async def test_making_it_twice_is_a_conflict_and_changes_nothing(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await create(admin, "d")
        answer = await admin.ask("POST", DEVICES, 409, json={"device_id": "d"})
        assert "already exists" in answer["detail"]
    check_seats(database)


async def test_without_a_seat_there_is_no_device(database: Database) -> None:
    await prepare(database, limit=1)
    async with dashboard(database) as served, calling(served, database) as admin:
        await create(admin, "a")
        answer = await admin.ask("POST", DEVICES, 402, json={"device_id": "b"})
        assert "only seat of" in answer["detail"]
        await admin.ask("POST", DEVICES, 404, json={"device_id": "b", "subscription_id": "SUB-none\0"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"device_id": "../x"}, "device_id"),
        ({"device_id": "a b"}, "device_id"),
        ({"device_id": 7}, "device_id"),
        ({}, "device_id"),
        ({"device_id": "d", "name": "x" * 257}, "name"),
        ({"device_id": "d", "name": "a\0b"}, "name"),
        ({"device_id": "d", "tags": ["x"] * 65}, "tags"),
        ({"device_id": "d", "tags": "cold"}, "tags"),
        ({"device_id": "d", "interval": -1}, "interval"),
        ({"device_id": "d", "interval": "NaN"}, "interval"),
        ({"device_id": "d", "site_id": "a:b"}, "site_id"),
        ({"device_id": "d", "tenant_id": "rival"}, "tenant_id"),
        ({"device_id": "d", "status": "ACTIVE"}, "status"),
        ({"device_id": "d", "device_limit": 10**6}, "device_limit"),
    ],
)
async def test_bad_input_names_its_field(database: Database, body: dict[str, Any], field: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.ask("POST", DEVICES, 400, json=body)
        assert answer["field"] == field
        assert (await admin.ask("GET", DEVICES))["total"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":', b"\xff", b"[" * 100_000, b'{"device_id": NaN}'])
async def test_a_body_that_is_no_object_is_refused(database: Database, body: bytes) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await admin.ask("POST", DEVICES, 400, content=body, headers={"Content-Type": "application/json"})
        await admin.ask("POST", DEVICES, 400, data={"device_id": "d"})


async def test_lists_are_filtered_sorted_and_paged(database: Database) -> None:
    await prepare(database, limit=20)
    async with dashboard(database) as served, calling(served, database) as admin:
        for number in range(7):
            await create(admin, f"d{number}", name=f"N{number % 2}", site_id="roof" if number % 2 else None)
        assert [one["device_id"] for one in (await admin.ask("GET", f"{DEVICES}?site=roof"))["items"]] == [
            "d1",
            "d3",
            "d5",
        ]
        none = await admin.ask("GET", f"{DEVICES}?site=.none&sort=-device&limit=1")
        assert (none["total"], [one["device_id"] for one in none["items"]]) == (4, ["d6"])
        found, path = [], f"{DEVICES}?sort=name&limit=3&q=n&presence=NEW&presence=STALE&status=ACTIVE"
        cursor = ""
        while True:
            page = await admin.ask("GET", f"{path}&cursor={cursor}")
            found += [one["device_id"] for one in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert found == ["d0", "d2", "d4", "d6", "d1", "d3", "d5"]
        as_file = await admin.raw("GET", f"{DEVICES}?sort=name&limit=1", headers={"Accept": "text/csv"})
        assert [line.split(",")[1] for line in as_file.text.splitlines()[1:]] == found


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1000000",
        "limit=NaN",
        "limit=1;drop",
        "sort=unknown",
        "sort=device;drop",
        "sort=--device",
        "status=GONE",
        "presence=",
        "presence=LOUD",
        "cursor=x",
        "cursor=%00",
        "cursor=%C3%A6",
        "cursor=W10",
        "cursor=eyJ3YWl0aW5nIjp0cnVlfQ",
        "cursor=" + "A" * 2000,
        "site=%00",
        "subscription=a%00",
        "tag=%00",
        "q=%00%ff%25",
        "q=" + "x" * 300,
        "tenant=rival",
        "unknown=1",
        "format=pdf",
    ],
)
async def test_a_bad_query_is_refused_or_means_nothing(database: Database, query: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.raw("GET", f"{DEVICES}?{query}")
    name = query.partition("=")[0]
    harmless = name == "tenant" or query == "presence="
    assert answer.status_code == (200 if harmless else 400), answer.text
    assert harmless or name in answer.json()["detail"] or name == answer.json()["field"]


async def test_a_description_changes_what_is_given_and_the_second_editor_is_told(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await create(admin, "d", name="One", place="here", tags=["a"])
        seen = await admin.ask("GET", f"{DEVICES}/d")
        changed = await admin.ask("PATCH", f"{DEVICES}/d", json={"name": None, "version": seen["version"]})
        assert (changed["name"], changed["place"], changed["tags"]) == (None, "here", ["a"])
        await admin.ask("PATCH", f"{DEVICES}/d", 409, json={"name": "Two", "version": seen["version"]})
        answer = await admin.ask("PATCH", f"{DEVICES}/d", 400, json={"status": "REVOKED"})
        assert answer["field"] == "status"


async def test_only_operators_set_limits(database: Database) -> None:
    await prepare(database)
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.OPERATOR) as operator,
    ):
        await create(admin, "d")
        answer = await admin.ask("PATCH", f"{DEVICES}/d", 400, json={"rate": 1000})
        assert answer["field"] == "rate"
        changed = await operator.ask("PATCH", f"{DEVICES}/d?tenant=acme", json={"rate": 2.5, "burst": 7, "name": "X"})
        assert (changed["rate"], changed["burst"], changed["name"]) == (2.5, 7, "X")
        answer = await operator.ask("PATCH", f"{DEVICES}/d?tenant=acme", 400, json={"burst": 0})
        assert answer["field"] == "burst"
        lifted = await operator.ask("PATCH", f"{DEVICES}/d?tenant=acme", json={"rate": None})
        assert (lifted["rate"], lifted["burst"]) == (None, 7)


async def test_a_device_goes_through_its_life(database: Database) -> None:
    await prepare(database, strategy="approve")
    async with ingest(database) as connection:
        await announce(connection, "new", "unwanted")
    async with dashboard(database) as served, calling(served, database) as admin:
        assert (await admin.ask("POST", f"{DEVICES}/new/approve"))["status"] == "ACTIVE"
        assert (await admin.ask("POST", f"{DEVICES}/unwanted/reject"))["status"] == "REVOKED"
        assert (await admin.ask("POST", f"{DEVICES}/new/deactivate"))["status"] == "INACTIVE"
        await admin.ask("POST", f"{DEVICES}/new/approve", 409)
        assert (await admin.ask("POST", f"{DEVICES}/new/reactivate", json={}))["presence"] == "NEW"
        seat = (await admin.ask("GET", f"{DEVICES}/new"))["subscription_id"]
        assert (await admin.ask("POST", f"{DEVICES}/new/move", json={"subscription_id": seat}))["status"] == "ACTIVE"
        assert (await admin.ask("POST", f"{DEVICES}/new/move", 400, json={}))["field"] == "subscription_id"
        assert await admin.ask("POST", f"{DEVICES}/new/revoke") == {"broker": "no broker"}
        for query in ("", "?history=", "?history=maybe"):
            assert (await admin.ask("DELETE", f"{DEVICES}/new{query}", 400))["field"] == "history"
        await admin.ask("DELETE", f"{DEVICES}/new?history=erase")
        await admin.ask("GET", f"{DEVICES}/new", 404)
        await admin.ask("DELETE", f"{DEVICES}/new?history=keep", 404)
    check_seats(database)


async def test_a_rotation_is_staged_until_the_switch(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        first = await create(admin, "d")
        second = await admin.ask("POST", f"{DEVICES}/d/rotate")
        assert (second["staged"], second["switch_at"]) == (True, None)
        assert second["password"] != first["password"]
        await admin.ask("POST", f"{DEVICES}/d/switch")
        assert "no new password" in (await admin.ask("POST", f"{DEVICES}/d/switch", 409))["detail"]
        later = await admin.ask("POST", f"{DEVICES}/d/rotate", json={"at": "2030-01-01T06:00:00+01:00"})
        assert later["switch_at"].startswith("2030-01-01T05:00:00")
        for body in ({"at": "2030-01-01T06:00:00"}, {"at": "soon"}, {"now": True, "at": "2030-01-01T06:00:00Z"}):
            assert (await admin.ask("POST", f"{DEVICES}/d/rotate", 400, json=body))["field"] == "at"
        assert (await admin.ask("POST", f"{DEVICES}/d/rotate", json={"now": True}))["staged"] is False


async def test_many_are_changed_at_once_and_each_is_answered(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for device in ("a", "b"):
            await create(admin, device)
        answers = await admin.ask("POST", f"{DEVICES}/bulk", json={"devices": ["b", "a", "x"], "step": "deactivate"})
        assert answers == [
            {"device_id": "a", "status": "INACTIVE", "why_not": None},
            {"device_id": "b", "status": "INACTIVE", "why_not": None},
            {"device_id": "x", "status": None, "why_not": "There is no such device."},
        ]
        for body, field in (
            ({"devices": [], "step": "deactivate"}, "devices"),
            ({"devices": ["a"], "step": "delete"}, "step"),
            ({"devices": ["a"], "step": "move"}, "subscription_id"),
            ({"devices": ["a"], "step": "explode"}, "step"),
        ):
            assert (await admin.ask("POST", f"{DEVICES}/bulk", 400, json=body))["field"] == field
        gone = await admin.ask("POST", f"{DEVICES}/bulk", json={"devices": ["\0", "../x"], "step": "deactivate"})
        assert {one["why_not"] for one in gone} == {"There is no such device."}


CSV = "device_id,name,tags\nd1,One,a|b\nd2,=cmd(),\nd1,twice,\n../x,bad,\n"


async def test_an_import_says_first_what_it_would_do(database: Database) -> None:
    await prepare(database)
    csv: dict[str, Any] = {"content": CSV.encode(), "headers": {"Content-Type": "text/csv"}}
    async with dashboard(database) as served, calling(served, database) as admin:
        tried = await admin.ask("POST", f"{DEVICES}/import?dry_run=true", **csv)
        assert tried["outcomes"] == {"created": 2, "updated": 0, "unchanged": 0, "no_capacity": 0, "refused": 2}
        assert (await admin.ask("GET", DEVICES))["total"] == 0
        done = await admin.ask("POST", f"{DEVICES}/import?credentials=true", **csv)
        assert [(row["line"], row["outcome"], bool(row["password"])) for row in done["rows"]] == [
            (2, "created", True),
            (3, "created", True),
            (4, "refused", False),
            (5, "refused", False),
        ]
        again = await admin.ask("POST", f"{DEVICES}/import", **csv)
        assert again["outcomes"]["created"] == 0
        for content in (b"", b"\xff\xfe", b"nothing\nx", b'device_id\n"x'):
            await admin.ask("POST", f"{DEVICES}/import", 400, content=content, headers={"Content-Type": "text/csv"})
        await admin.ask("POST", f"{DEVICES}/import", 400, json={})


async def test_readers_look_and_change_nothing(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await create(admin, "d")
        for role in (Role.VIEWER, Role.RESPONDER):
            async with calling(served, database, role) as reader:
                assert (await reader.ask("GET", DEVICES))["total"] == 1
                await reader.ask("POST", DEVICES, 403, json={"device_id": "e"})
                await reader.ask("POST", f"{DEVICES}/d/revoke", 403)
                await reader.ask("DELETE", f"{DEVICES}/d?history=keep", 403)


async def test_what_is_anothers_is_as_if_it_were_not_there(database: Database) -> None:
    await prepare(database, TENANT, "rival")
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, tenant_id="rival") as rival,
    ):
        await create(admin, "d")
        assert (await rival.ask("GET", f"{DEVICES}?tenant=acme"))["total"] == 0
        paths = [("GET", ""), ("PATCH", ""), ("DELETE", "?history=keep")]
        steps = ("approve", "reject", "deactivate", "reactivate", "rotate", "switch", "revoke")
        paths += [("POST", f"/{step}") for step in steps]
        for method, path in paths:
            theirs = await rival.raw(method, f"{DEVICES}/d{path}", json={} if method != "GET" else None)
            unknown = await rival.raw(method, f"{DEVICES}/none{path}", json={} if method != "GET" else None)
            assert theirs.status_code == unknown.status_code == 404, (method, path)
            assert theirs.text.replace("device d", "") == unknown.text.replace("device none", "")
        assert (await create(rival, "d"))["tenant_id"] == "rival"
        assert (await admin.ask("GET", f"{DEVICES}/d"))["status"] == "ACTIVE"


async def test_operators_name_the_tenant(database: Database) -> None:
    await prepare(database, TENANT, "rival")
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as operator:
        for tenant in (TENANT, "rival"):
            await operator.ask("POST", f"{DEVICES}?tenant={tenant}", 201, json={"device_id": "d"})
        assert (await operator.ask("GET", DEVICES))["total"] == 2
        assert (await operator.ask("GET", f"{DEVICES}?tenant=rival"))["total"] == 1
        assert (await operator.ask("GET", f"{DEVICES}/d", 400))["field"] == "tenant"
        assert (await operator.ask("POST", DEVICES, 400, json={"device_id": "e"}))["field"] == "tenant"
        await operator.ask("POST", f"{DEVICES}?tenant=nobody", 404, json={"device_id": "e"})


@pytest.mark.parametrize("device", ["%00", "..%2fx", "a%20b", "x" * 65, "%ff", "a%0d%0a", "%F0%9F%98%80"])
async def test_an_id_that_nobody_can_have_is_not_there(database: Database, device: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/revoke"), ("DELETE", "?history=keep")):
            answer = await admin.raw(method, f"{DEVICES}/{device}{path}", content=json.dumps({}))
            assert answer.status_code in {400, 404}, (method, answer.status_code, answer.text)


async def test_customers_see_their_own_subscriptions(database: Database) -> None:
    await prepare(database, TENANT, "rival", limit=7)
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as reader:
        page = await reader.ask("GET", "/customer/subscriptions?tenant=rival")
        assert [(one["tenant_id"], one["device_limit"], one["status"]) for one in page["items"]] == [
            ("acme", 7, "ACTIVE")
        ]
        await reader.ask("GET", "/operator/subscriptions", 403)
