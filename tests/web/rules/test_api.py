"""``/customer/alert-rules``: rules as programs make, read, change and delete them."""

import csv
import io
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT, add_tenant, ingest
from tests.support.web.api_caller import calling, dashboard

PATH = "/customer/alert-rules"
HOT = {"name": "Hot", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": 8}
FULL = {
    **HOT,
    "description": "Goods spoil.",
    "clear_value": 7.5,
    "for_seconds": 60,
    "for_count": 2,
    "clear_for_seconds": 30,
    "conditions": [{"metric": "hatch_open", "operator": "EQ", "value": True, "max_age_seconds": 300}],
    "scope": {"site_ids": ["bgo"], "tags": ["freezer"], "device_prefixes": ["BGO-"], "device_ids": ["d-1"]},
}
OTHERS: list[dict[str, Any]] = [
    {**HOT, "name": "Warm", "kind": "window", "aggregate": "avg", "window_seconds": 300},
    {"name": "Silent", "severity": "low", "kind": "no_data", "seconds": 600},
    {"name": "Mode", "severity": "info", "kind": "change", "metric": "mode", "to": "manual", "scope": {}},
]


async def prepare(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await add_tenant(connection, "rival")


@pytest.mark.parametrize("given", [HOT, FULL, *OTHERS], ids=lambda given: str(given["name"]))
async def test_a_rule_comes_back_as_it_was_made(database: Database, given: dict[str, Any]) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.raw("POST", PATH, json=given)
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"{PATH}/{made['rule_id']}"
        lists: dict[str, list[str]] = {"site_ids": [], "tags": [], "device_prefixes": [], "device_ids": []}
        wanted = {**given, "scope": {**lists, **given.get("scope", {})}}
        assert {name: made[name] for name in wanted} == wanted
        assert await admin.ask("GET", f"{PATH}/{made['rule_id']}") == made
        assert (made["enabled"], made["error"], made["open_alerts"], made["last_opened_at"]) == (True, None, 0, None)


async def test_a_rule_is_changed_field_by_field_and_deleted(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json=FULL)
        where = f"{PATH}/{made['rule_id']}"
        changed = await admin.ask("PATCH", where, json={"value": 9, "clear_value": None, "version": made["version"]})
        assert (changed["value"], changed.get("clear_value"), changed["for_seconds"]) == (9, None, 60)
        assert changed["scope"] == made["scope"]
        await admin.ask("PATCH", where, 409, json={"value": 10, "version": made["version"]})
        assert (await admin.ask("PATCH", where, json={}))["version"] == changed["version"]
        off = await admin.ask("PATCH", where, json={"enabled": False})
        assert (off["enabled"], off["value"]) == (False, 9)
        every = await admin.ask("PATCH", where, json={"scope": None})
        assert not any(every["scope"].values())
        silent = await admin.ask("PATCH", where, json={"kind": "no_data", "seconds": 60})
        assert (silent["kind"], silent["seconds"], silent.get("metric")) == ("no_data", 60, None)
        await admin.ask("DELETE", where, 204)
        for method in ("GET", "PATCH", "DELETE"):
            await admin.ask(method, where, 404)
        await admin.ask("POST", PATH, 201, json=HOT)


async def test_bad_input_names_its_field_and_makes_nothing(database: Database) -> None:
    await prepare(database)
    bad: list[tuple[dict[str, Any], str]] = [
        ({**HOT, "value": "8"}, "value"),
        ({**HOT, "value": None}, "value"),
        ({**HOT, "value": [8]}, "value"),
        ({**HOT, "operator": "OVER"}, "operator"),
        ({**HOT, "clear_value": 9}, "clear_value"),
        ({**HOT, "for_seconds": -1}, "for_seconds"),
        ({**HOT, "for_seconds": True}, "for_seconds"),
        ({**HOT, "expression": "(a+)+$"}, "expression"),
        ({**HOT, "seconds": 3}, "seconds"),
        ({**HOT, "severity": "fatal"}, "severity"),
        ({**HOT, "kind": "regex"}, "kind"),
        ({**HOT, "name": "a\r\nBcc: b@c.d"}, "name"),
        ({**HOT, "name": None}, "name"),
        ({**HOT, "scope": {"sites": ["a"]}}, "scope"),
        ({**HOT, "scope": {"site_ids": ["../a"]}}, "scope.site_ids"),
        ({**HOT, "tenant_id": "rival"}, "tenant_id"),
        ({**HOT, "rule_id": str(uuid4())}, "rule_id"),
        ({"name": "x", "severity": "low", "kind": "no_data"}, "seconds"),
    ]
    async with dashboard(database) as served, calling(served, database) as admin:
        before = await admin.ask("GET", PATH)
        for body, field in bad:
            assert (await admin.ask("POST", PATH, 400, json=body))["field"] == field, body
        for text in (b'{"name": NaN}', b'{"value": 1e400}', b"[]", b"{"):
            answer = await admin.raw("POST", PATH, content=text, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400, text
        for query in (
            "limit=0",
            "cursor=x",
            "cursor=WyJhIl0",
            "kind=regex",
            "severity=x",
            "sort=x",
            "enabled=2",
            "q=%00",
        ):
            await admin.ask("GET", f"{PATH}?{query}", 400)
        for unlikely in ("%00", "a%20b", "..%2f", "1", "%ff", str(uuid4())):
            assert (await admin.raw("GET", f"{PATH}/{unlikely}")).status_code in {400, 404}
        assert await admin.ask("GET", PATH) == before


async def test_whole_numbers_beyond_what_floats_hold_stay_exact(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json={**HOT, "value": 2**53 + 1, "clear_value": -0.5})
        assert (made["value"], made["clear_value"]) == (2**53 + 1, -0.5)
        large = await admin.ask("PATCH", f"{PATH}/{made['rule_id']}", json={"value": 1e20})
        assert large["value"] == 1e20
        assert (await admin.ask("GET", f"{PATH}/{made['rule_id']}"))["error"] is None


async def test_a_name_is_taken_once(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await admin.ask("POST", PATH, 201, json=HOT)
        assert "called HOT already" in (await admin.ask("POST", PATH, 409, json={**HOT, "name": "HOT"}))["detail"]


async def test_rules_are_listed_filtered_and_paged(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for given in (HOT, *OTHERS):
            await admin.ask("POST", PATH, 201, json=given)
        silent = (await admin.ask("GET", f"{PATH}?q=silent"))["items"][0]
        await admin.ask("PATCH", f"{PATH}/{silent['rule_id']}", json={"enabled": False})

        async def names(query: str = "") -> list[str]:
            page = await admin.ask("GET", f"{PATH}?{query}")
            return [one["name"] for one in page["items"] if one["built_in"] is None]

        assert await names() == ["Hot", "Warm", "Silent", "Mode"]
        assert await names("sort=name") == ["Hot", "Mode", "Silent", "Warm"]
        assert await names("enabled=false") == ["Silent"]
        assert await names("enabled=true&kind=threshold&kind=change") == ["Hot", "Mode"]
        assert await names("severity=info&severity=low") == ["Silent", "Mode"]
        assert await names("q=TEMPERATURE") == ["Hot", "Warm"]
        assert await names("failing=true") == []
        first = await admin.ask("GET", f"{PATH}?limit=1&sort=name&kind=threshold&kind=window")
        rest = await admin.ask("GET", f"{PATH}?sort=name&kind=threshold&kind=window&cursor={first['next']}")
        assert [one["name"] for one in (*first["items"], *rest["items"])] == ["Hot", "Warm"]
        assert rest["next"] is None


async def test_rules_come_as_a_file_with_their_words(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        await admin.ask("POST", "/customer/metrics", 201, json={"name": "temperature", "label": "Air", "unit": "°C"})
        await admin.ask("POST", PATH, 201, json={**FULL, "name": "=cmd()"})
        answer = await admin.raw("GET", f"{PATH}?kind=threshold", headers={"Accept": "text/csv"})
        (row,) = csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff")))
        assert row["name"] == "'=cmd()"
        assert row["opens"] == "Air above 8 °C for 1 min, 2 readings in a row, and hatch open is true"
        assert (row["clears"], row["tags"]) == ("clears at 7.5 °C after 30 s", "freezer")
        assert "attachment" in answer.headers["content-disposition"]


async def test_readers_look_and_what_is_anothers_is_not_there(database: Database) -> None:
    await prepare(database)
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.VIEWER) as reader,
        calling(served, database, tenant_id="rival") as rival,
        calling(served, database, Role.OPERATOR) as operator,
    ):
        where = f"{PATH}/{(await admin.ask('POST', PATH, 201, json=HOT))['rule_id']}"
        assert (await reader.ask("GET", where))["name"] == "Hot"
        for method, path in (("POST", PATH), ("PATCH", where), ("DELETE", where)):
            await reader.ask(method, path, 403, json=HOT)
        for method in ("GET", "PATCH", "DELETE"):
            await rival.ask(method, f"{where}?tenant=acme", 404)
        assert not [one for one in (await rival.ask("GET", f"{PATH}?tenant=acme"))["items"] if one["name"] == "Hot"]
        assert [one["tenant_id"] for one in (await operator.ask("GET", f"{PATH}?q=hot"))["items"]] == ["acme"]
        assert (await operator.ask("GET", f"{PATH}?q=hot&tenant=rival"))["items"] == []
        assert (await operator.ask("GET", where, 400))["field"] == "tenant"
        await operator.ask("PATCH", f"{where}?tenant=acme", json={"value": 9})
        for nobodys in ("nobody", "appliance"):
            await operator.ask("POST", f"{PATH}?tenant={nobodys}", 404, json=HOT)


async def test_the_built_in_rule_is_tuned_and_disabled_and_not_deleted(database: Database) -> None:
    await prepare(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, built_in, created_at, updated_at)"
            " VALUES ('acme', 'No heartbeat', 'high', 'no_data', '{}', 'NO_HEARTBEAT', now(), now())"
            " ON CONFLICT DO NOTHING"
        )
    async with dashboard(database) as served, calling(served, database) as admin:
        (built_in,) = [one for one in (await admin.ask("GET", PATH))["items"] if one["built_in"]]
        where = f"{PATH}/{built_in['rule_id']}"
        assert (await admin.ask("PATCH", where, json={"seconds": 900, "severity": "low"}))["seconds"] == 900
        assert "seconds" not in await admin.ask("PATCH", where, json={"seconds": None})
        assert (await admin.ask("PATCH", where, 400, json={**HOT, "name": "x"}))["field"] == "kind"
        assert "disable it instead" in (await admin.ask("DELETE", where, 409))["detail"]
        assert (await admin.ask("PATCH", where, json={"enabled": False}))["enabled"] is False


async def test_a_rule_that_cannot_be_read_is_listed_with_its_error_and_can_be_mended(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json=HOT)
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute(
                "UPDATE alert_rules SET parameters = %s WHERE built_in IS NULL",
                ['{"metric": "t", "value": [1], "old": 2}'],
            )
        (shown,) = (await admin.ask("GET", f"{PATH}?q=hot"))["items"]
        assert "old" in shown["error"]
        where = f"{PATH}/{made['rule_id']}"
        assert (await admin.raw("GET", PATH, headers={"Accept": "text/csv"})).status_code == 200
        assert (await admin.ask("PATCH", where, 400, json={"value": 3}))["field"] == "old"
        mended = await admin.ask("PATCH", where, json={"kind": "change", "metric": "t"})
        assert (mended["error"], mended["kind"]) == (None, "change")
