"""The System API: the state of the appliance, for operators only and without secrets."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import trio

from appliance.clock import SystemClock
from appliance.db.migrations import shipped
from appliance.diagnostics.readiness import Health
from appliance.people.role import Role
from appliance.runtime.tree import Report, Tree
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.retention import make_days, queue_hour, store
from tests.support.web.accounts import client, signed_in
from tests.support.web.contract import Contract
from tests.support.web.parts import WELL
from tests.support.web.serving import over
from tests.support.web.stand_ins import quiet_system

SYSTEM, DIAGNOSTICS = "/operator/system", "/operator/system/diagnostics"
BALANCED = (
    "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused, duplicate)"
    " VALUES (now(), 'a', 'acme', 10, 7, 2, 1), (now() - interval '3 days', 'a', 'acme', 100, 100, 0, 0)"
)


async def _get(asking: httpx.AsyncClient, path: str = SYSTEM) -> Any:
    """Return the answer, checked against the OpenAPI document."""
    answered = await asking.get(path)
    assert answered.status_code == 200
    contract = Contract((await asking.get("/openapi.json")).json())
    contract.check("GET", path, 200, answered.headers["content-type"], answered.content)
    return answered.json()


async def test_the_accounting_of_today_and_of_all_time_balances(database: Database) -> None:
    arrange(database, BALANCED)
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        shown = await _get(asking)
    assert shown["today"]["books"]["received"] == 10
    assert shown["all_time"]["books"]["received"] == 110
    assert shown["today"]["balanced"] is shown["all_time"]["balanced"] is True
    assert shown["all_time"]["since"] is None


async def test_versions_disk_and_limits_are_shown(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        shown = await _get(asking)
    newest = shipped()[-1].version
    assert shown["versions"]["schema_needed"] == newest
    assert shown["versions"]["postgres"].startswith("1")
    assert shown["database"]["bytes"] > 1_000_000
    assert shown["bounds"] == [{"name": "Rate buckets", "now": 471, "most": 200_000}]
    assert shown["broker_terms"]["saves_every"] == 5


async def test_the_days_of_readings_are_shown_with_what_waits_and_why(database: Database) -> None:
    today = datetime.now(UTC).date()
    old, pending, kept = (today - timedelta(days=days) for days in (50, 40, 1))
    for day in (old, pending, kept):
        await make_days(database, day, day)
        store(database, day, 100)
    await make_days(database, today, today)
    queue_hour(database, pending, 3)
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        shown = (await _get(asking))["retention"]
    assert [one["day"] for one in shown["days"]] == [day.isoformat() for day in (old, pending, kept)]
    assert min(one["bytes"] for one in shown["days"]) > 8192
    assert shown["bytes"] == sum(one["bytes"] for one in shown["days"])
    assert (shown["keep_days"], shown["next_day"]) == (30, old.isoformat())
    end_of_day = datetime(old.year, old.month, old.day, tzinfo=UTC) + timedelta(days=31, hours=1)
    assert shown["next_at"] == end_of_day.timestamp()
    assert [(one["day"], one["reason"], one["pending_hours"]) for one in shown["waiting"]] == [
        (old.isoformat(), "turn", 0),
        (pending.isoformat(), "rollups", 1),
    ]
    assert shown["outlook"]["growth"] == shown["days"][2]["bytes"] // 7


async def test_the_task_tree_is_the_one_that_runs(database: Database) -> None:
    async def works(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            task_status.started()

    operator = signed_in(database.conninfo())
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("works", works, report=lambda: Report("passes on", waiting=3, room=4, restarts=2))
        system = replace(quiet_system(SystemClock()), tasks=tree.status)
        async with over(database, snapshot=system) as served, client(served.url, operator) as asking:
            (task,) = (await _get(asking))["tasks"]
        await tree.drain()
    assert (task["name"], task["state"], task["doing"]) == ("works", "behind", "passes on")
    assert (task["waiting"], task["room"], task["restarts"]) == (3, 4, 2)
    assert [inner["name"] for inner in task["tasks"]] == ["sleep_forever"]


async def test_only_operators_may_read_it(database: Database) -> None:
    people = [signed_in(database.conninfo(), role) for role in (Role.ADMIN, Role.RESPONDER, Role.VIEWER)]
    async with over(database) as served:
        for person in people:
            async with client(served.url, person) as asking:
                assert [(await asking.get(path)).status_code for path in (SYSTEM, DIAGNOSTICS)] == [403, 403]
        async with client(served.url, None) as asking:
            assert (await asking.get(SYSTEM)).status_code == 401


async def test_the_diagnostics_are_a_file_with_settings_and_no_message(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO quarantine_events (ingested_at, topic, reason, payload)"
        " VALUES (now(), 't/precious', 'INVALID_JSON', 'precious')",
    )
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        answered = await asking.get(DIAGNOSTICS)
        shown = await _get(asking, DIAGNOSTICS)
    assert answered.headers["content-disposition"].startswith('attachment; filename="diagnostics-')
    assert shown["settings"]["broker.port"] == 1883
    assert shown["missing"] == {}
    assert "precious" not in json.dumps(shown)
    assert operator.secret not in json.dumps(shown)


async def test_what_was_read_last_stands_while_postgres_is_away(database: Database) -> None:
    arrange(database, BALANCED)
    operator = signed_in(database.conninfo())
    states = [WELL]
    async with over(database, health=lambda: states[-1]) as served, client(served.url, operator) as asking:
        before = await _get(asking)
        states.append(Health("is down", None, None))
        after = await _get(asking)
    assert after["today"] == before["today"]
