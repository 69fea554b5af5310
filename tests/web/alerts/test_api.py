"""``/customer/alerts``: every operation, its refusals, and its walls."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import psycopg
import pytest

from appliance.alerts.actions import MAX_ALERTS
from appliance.people.role import Role
from tests.support.alerts import add_alert, add_alerts, add_rule, alert_row, entries_of
from tests.support.postgres_server import Database
from tests.support.tenants import ingest
from tests.support.web.api_caller import Caller, calling, dashboard
from tests.support.web.contract import Contract

ALERTS = "/customer/alerts"
BULK = f"{ALERTS}/bulk"
NOW = datetime.now(UTC)
TOMORROW = (NOW + timedelta(days=1)).isoformat()
SILENCE = {"until": TOMORROW, "reason": "being repaired"}
IMPOSSIBLE_IDS = ("0", "-1", "abc", "99999999", str(2**63), str(10**40), "1.0", "1%20")


@asynccontextmanager
async def asking(database: Database, role: Role = Role.RESPONDER, tenant_id: str = "acme") -> AsyncIterator[Caller]:
    async with dashboard(database) as served, calling(served, database, role, tenant_id) as caller:
        yield caller


async def ids(caller: Caller, query: str = "") -> list[int]:
    return [item["alert_id"] for item in (await caller.ask("GET", f"{ALERTS}?{query}"))["items"]]


async def test_an_alert_is_told_by_the_names_that_scripts_rely_on(database: Database) -> None:
    rule = add_rule(database, name="Freezer")
    alert_id = add_alert(database, rule_id=rule, severity="critical")
    async with asking(database, Role.VIEWER) as viewer:
        listed = (await viewer.ask("GET", ALERTS))["items"][0]
        shown = await viewer.ask("GET", f"{ALERTS}/{alert_id}")
    needed = {
        "alert_id": alert_id,
        "device_id": "d1",
        "rule_id": str(rule),
        "rule_name": "Freezer",
        "alert_type": "THRESHOLD",
        "severity": "critical",
        "status": "OPEN",
        "summary": "temperature above 8",
        "details": {"metric": "temperature", "value": 9.5, "threshold": 8},
        "created_at": "2026-11-23T12:00:00Z",
        "last_triggered_at": "2026-11-23T12:00:00Z",
        "trigger_count": 1,
    }
    assert needed.items() <= listed.items()
    assert "id" not in listed
    assert [entry["kind"] for entry in shown.pop("timeline")] == ["opened"]
    assert shown == listed


async def test_the_life_of_an_alert(database: Database) -> None:
    alert_id = add_alert(database)
    path = f"{ALERTS}/{alert_id}"
    async with asking(database) as responder:
        email = responder.person.email
        one = await responder.ask("POST", f"{path}/acknowledge", json={"note": "on it"})
        assert (one["status"], one["acknowledged_by"]) == ("ACKNOWLEDGED", email)
        assert (await responder.ask("POST", f"{path}/unacknowledge"))["status"] == "OPEN"
        one = await responder.ask("POST", f"{path}/silence", json=SILENCE)
        assert (one["silence_reason"], one["silenced_by"], one["status"]) == ("being repaired", email, "OPEN")
        assert datetime.fromisoformat(one["silenced_until"]) == datetime.fromisoformat(TOMORROW)
        assert (await responder.ask("POST", f"{path}/unsilence"))["silenced_until"] is None
        one = await responder.ask("PATCH", path, json={"note": "gasket iced over"})
        assert (one["timeline"][0]["kind"], one["timeline"][0]["note"]) == ("note", "gasket iced over")
        one = await responder.ask("POST", f"{path}/close", json={"note": "door shut"})
        assert (one["status"], one["closed_by"], one["close_reason"]) == ("CLOSED", email, "closed")
        assert one == await responder.ask("GET", path)
    assert [entry["kind"] for entry in one["timeline"]] == [
        "closed",
        "note",
        "unsilenced",
        "silenced",
        "unacknowledged",
        "acknowledged",
        "opened",
    ]
    assert {entry["actor"] for entry in one["timeline"]} == {email, None}
    async with asking(database, Role.ADMIN) as admin:
        await admin.ask("DELETE", path, 204)
        await admin.ask("GET", path, 404)
        await admin.ask("DELETE", path, 404)


async def test_an_impossible_step_answers_with_the_present_status(database: Database) -> None:
    alert_id = add_alert(database)
    path = f"{ALERTS}/{alert_id}"
    async with asking(database, Role.ADMIN) as admin:
        for step in ("unacknowledge", "unsilence"):
            refused = await admin.ask("POST", f"{path}/{step}", 409)
            assert (refused["present_status"], refused["status"]) == ("OPEN", 409)
        assert (await admin.ask("DELETE", path, 409))["present_status"] == "OPEN"
        await admin.ask("POST", f"{path}/acknowledge")
        refused = await admin.ask("POST", f"{path}/acknowledge", 409)
        assert refused["present_status"] == "ACKNOWLEDGED"
        assert "ACKNOWLEDGED" in refused["detail"]
        await admin.ask("POST", f"{path}/close")
        for step in ("acknowledge", "close", "silence", "unacknowledge"):
            refused = await admin.ask("POST", f"{path}/{step}", 409, json=SILENCE if step == "silence" else {})
            assert refused["present_status"] == "CLOSED", step


async def test_an_inhibited_alert_refuses_and_names_its_cause(database: Database) -> None:
    cause = add_alert(database)
    alert_id = add_alert(database, inhibited_by=cause)
    async with asking(database) as responder:
        refused = await responder.ask("POST", f"{ALERTS}/{alert_id}/acknowledge", 409)
        assert f"Alert {cause}" in refused["detail"]
        answers = await responder.ask("POST", BULK, json={"action": "close", "alert_ids": [alert_id]})
        assert answers["items"] == [
            {"alert_id": alert_id, "outcome": "conflict", "status": "OPEN", "inhibited_by": cause}
        ]


async def test_one_step_for_many_alerts_answers_for_each(database: Database) -> None:
    first, second = add_alerts(database, 2)
    closed, rival = add_alert(database, status="CLOSED"), add_alert(database, "rival")
    async with asking(database) as responder:
        asked = {"action": "acknowledge", "alert_ids": [second, first, closed, rival, 0, -7, 2**63], "note": "all"}
        answers = (await responder.ask("POST", BULK, json=asked))["items"]
        assert [(one["alert_id"], one["outcome"]) for one in answers] == [
            (second, "done"),
            (first, "done"),
            (closed, "conflict"),
            (rival, "not_found"),
            (0, "not_found"),
            (-7, "not_found"),
            (2**63, "not_found"),
        ]
        assert answers[2]["status"] == "CLOSED"
        for action, more in (("silence", SILENCE), ("unsilence", {}), ("close", {"note": "over"})):
            asked = {"action": action, "alert_ids": [first], **more}
            assert (await responder.ask("POST", BULK, json=asked))["items"][0]["outcome"] == "done", action
    assert entries_of(database, first)[-1][2] == "over"
    row = alert_row(database, rival)
    assert row is not None
    assert row["status"] == "OPEN"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "action"),
        ({"action": "close"}, "alert_ids"),
        ({"action": "close", "alert_ids": []}, "alert_ids"),
        ({"action": "close", "alert_ids": list(range(1, MAX_ALERTS + 2))}, "alert_ids"),
        ({"action": "close", "alert_ids": ["1"]}, "alert_ids"),
        ({"action": "close", "alert_ids": [1.5]}, "alert_ids"),
        ({"action": "close", "alert_ids": [None]}, "alert_ids"),
        ({"action": "close", "alert_ids": 1}, "alert_ids"),
        ({"action": "delete", "alert_ids": [1]}, "action"),
        ({"action": "explode", "alert_ids": [1]}, "action"),
        ({"action": "close", "alert_ids": [1], "until": TOMORROW}, "until"),
        ({"action": "silence", "alert_ids": [1], "until": TOMORROW}, "reason"),
        ({"action": "silence", "alert_ids": [1], "reason": "x"}, "until"),
        ({"action": "silence", "alert_ids": [1], "reason": "x", "until": "tomorrow"}, "until"),
        ({"action": "silence", "alert_ids": [1], "reason": "x", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"action": "close", "alert_ids": [1], "note": 7}, "note"),
        ({"action": "close", "alert_ids": [1], "tenant_id": "rival"}, "tenant_id"),
    ],
)
async def test_a_bulk_that_does_not_fit_names_its_field(database: Database, asked: dict[str, Any], field: str) -> None:
    add_alert(database)
    async with asking(database) as responder:
        assert (await responder.ask("POST", BULK, 400, json=asked))["field"] == field


@pytest.mark.parametrize(
    ("method", "step", "body", "field"),
    [
        ("PATCH", "", {}, "note"),
        ("PATCH", "", {"note": " "}, "note"),
        ("PATCH", "", {"note": "x" * 2001}, "note"),
        ("PATCH", "", {"note": None}, "note"),
        ("PATCH", "", {"note": "a\0"}, "note"),
        ("PATCH", "", {"status": "CLOSED"}, "status"),
        ("POST", "/silence", {}, "reason"),
        ("POST", "/silence", {"reason": "x"}, "until"),
        ("POST", "/silence", {"until": TOMORROW}, "reason"),
        ("POST", "/silence", {"until": "2026-12-01T00:00:00", "reason": "x"}, "until"),
        ("POST", "/silence", {"until": "2999-12-01T00:00:00Z", "reason": "x"}, "until"),
        ("POST", "/silence", {"until": 7, "reason": "x"}, "until"),
        ("POST", "/close", {"note": ["x"]}, "note"),
    ],
)
async def test_a_body_that_does_not_fit_names_its_field(
    database: Database, method: str, step: str, body: dict[str, Any], field: str
) -> None:
    alert_id = add_alert(database)
    async with asking(database) as responder:
        refused = await responder.ask(method, f"{ALERTS}/{alert_id}{step}", 400, json=body)
    assert refused["field"] == field
    assert len(entries_of(database, alert_id)) == 1


async def test_what_is_not_there_or_anothers_is_404_on_every_verb(database: Database) -> None:
    rival = add_alert(database, "rival", status="CLOSED")
    row = alert_row(database, rival)
    verbs = [("GET", ""), ("PATCH", ""), ("DELETE", "")]
    verbs += [("POST", f"/{step}") for step in ("acknowledge", "unacknowledge", "close", "silence", "unsilence")]
    async with asking(database, Role.ADMIN) as admin:
        for wanted in (*IMPOSSIBLE_IDS, str(rival)):
            for method, step in verbs:
                body = None if method in {"GET", "DELETE"} else {"note": "x"}
                body = SILENCE if step == "/silence" else body
                answered = await admin.raw(method, f"{ALERTS}/{wanted}{step}", json=body)
                assert answered.status_code == HTTPStatus.NOT_FOUND, (method, wanted, step, answered.text)
    assert alert_row(database, rival) == row


async def test_row_level_security_holds_without_any_where(database: Database) -> None:
    mine, rival = add_alert(database, status="CLOSED"), add_alert(database, "rival", status="CLOSED")
    with psycopg.connect(database.conninfo("appliance_web"), autocommit=True) as connection:
        for tenant_id, seen in (("", []), ("acme", [mine])):
            connection.execute("SELECT set_config('appliance.tenant_id', %s, false)", [tenant_id])
            assert connection.execute("SELECT id FROM fleet_alert").fetchall() == [(one,) for one in seen]
            assert connection.execute("SELECT alert_id FROM alert_events").fetchall() == [(one,) for one in seen]
            assert connection.execute("UPDATE fleet_alert SET summary = 'x'").rowcount == len(seen)
            assert connection.execute("DELETE FROM fleet_alert").rowcount == len(seen)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO alert_events (tenant_id, alert_id, at, kind) VALUES ('rival', %s, now(), 'note')", [rival]
            )
    left = alert_row(database, rival)
    assert left is not None
    assert left["summary"] != "x"
    assert alert_row(database, mine) is None


async def test_viewers_read_responders_act_and_admins_delete(database: Database) -> None:
    alert_id, closed = add_alert(database), add_alert(database, status="CLOSED")
    async with asking(database, Role.VIEWER) as viewer:
        await viewer.ask("GET", f"{ALERTS}/{alert_id}")
        await viewer.ask("POST", f"{ALERTS}/{alert_id}/acknowledge", 403)
        await viewer.ask("PATCH", f"{ALERTS}/{alert_id}", 403, json={"note": "x"})
        await viewer.ask("POST", BULK, 403, json={"action": "close", "alert_ids": [alert_id]})
    async with asking(database, Role.RESPONDER) as responder:
        await responder.ask("DELETE", f"{ALERTS}/{closed}", 403)
        await responder.ask("POST", f"{ALERTS}/{alert_id}/acknowledge")


async def test_operators_see_all_alerts_and_name_the_tenant_of_one(database: Database) -> None:
    mine, rival = add_alert(database), add_alert(database, "rival")
    async with asking(database, Role.OPERATOR) as operator:
        assert await ids(operator, "sort=oldest") == [mine, rival]
        assert await ids(operator, "tenant=rival") == [rival]
        assert (await operator.ask("GET", f"{ALERTS}/{mine}", 400))["field"] == "tenant"
        await operator.ask("GET", f"{ALERTS}/{mine}?tenant=rival", 404)
        await operator.ask("POST", f"{ALERTS}/{mine}/close?tenant=rival", 404)
        asked = {"action": "close", "alert_ids": [mine, rival]}
        answers = (await operator.ask("POST", f"{BULK}?tenant=rival", json=asked))["items"]
        assert [one["outcome"] for one in answers] == ["not_found", "done"]
        await operator.ask("POST", BULK, 400, json=asked)
        await operator.ask("POST", f"{ALERTS}/{mine}/close?tenant=acme")


async def test_filters_narrow_and_pages_leave_nothing_out(database: Database) -> None:
    rule = add_rule(database, name="Ammonia")
    later = datetime(2026, 11, 24, tzinfo=UTC)
    a = add_alert(database, severity="critical", site_id="north")
    b = add_alert(database, status="ACKNOWLEDGED", alert_type="NO_HEARTBEAT", device_id="d2", created_at=later)
    c = add_alert(database, status="CLOSED", severity="info", rule_id=rule, device_id=None)
    d = add_alert(database, inhibited_by=a, silenced_until=NOW + timedelta(days=1), severity="low")
    e = add_alert(database, silenced_until=NOW + timedelta(days=1), severity="medium")
    async with asking(database) as responder:
        for query, expected in (
            ("", [b, e, d, c, a]),
            ("status=OPEN", [e, d, a]),
            ("status=CLOSED&status=ACKNOWLEDGED", [b, c]),
            ("tab=open", [a]),
            ("tab=acknowledged", [b]),
            ("tab=silenced", [e]),
            ("tab=inhibited", [d]),
            ("tab=closed", [c]),
            ("severity=critical&severity=info", [c, a]),
            ("alert_type=NO_HEARTBEAT", [b]),
            ("device_id=d2", [b]),
            ("site_id=north", [a]),
            ("site_id=.none&status=CLOSED", [c]),
            (f"rule_id={rule}", [c]),
            (f"inhibited_by={a}", [d]),
            ("since=2026-11-24T00:00:00Z", [b]),
            ("until=2026-11-23T18:00:00%2B01:00", [e, d, c, a]),
            ("q=ammonia", [c]),
            ("sort=severity", [a, b, e, d, c]),
        ):
            assert await ids(responder, query) == expected, query
        first = await responder.ask("GET", f"{ALERTS}?limit=2&sort=severity")
        second = await responder.ask("GET", f"{ALERTS}?limit=3&sort=severity&cursor={first['next']}")
        assert [item["alert_id"] for page in (first, second) for item in page["items"]] == [a, b, e, d, c]
        assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=open", "status"),
        ("status=SILENCED", "status"),
        ("tab=OPEN", "tab"),
        ("severity=worst", "severity"),
        ("alert_type=threshold", "alert_type"),
        ("device_id=a%00b", "device_id"),
        ("device_id=../x", "device_id"),
        ("site_id=a%00b", "site_id"),
        ("rule_id=7", "rule_id"),
        ("inhibited_by=-1", "inhibited_by"),
        (f"inhibited_by={2**63}", "inhibited_by"),
        ("since=yesterday", "since"),
        ("since=2026-02-30", "since"),
        ("until=NaN", "until"),
        ("since=2026-02-02&until=2026-01-01", "since"),
        ("sort=worst", "sort"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=AAAA", "cursor"),
        ("cursor=LTE", "cursor"),
        (f"q={'x' * 201}", "q"),
    ],
)
async def test_an_invalid_filter_names_its_parameter(database: Database, query: str, field: str) -> None:
    async with asking(database) as responder:
        assert (await responder.ask("GET", f"{ALERTS}?{query}", 400))["field"] == field


async def test_the_list_is_a_file_for_who_accepts_one(database: Database) -> None:
    a, b = add_alert(database, summary="=cmd()"), add_alert(database, severity="critical", status="CLOSED")
    add_alert(database, "rival")
    async with asking(database) as responder:
        answered = await responder.raw("GET", f"{ALERTS}?limit=1&sort=severity", headers={"Accept": "text/csv"})
    assert answered.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answered.text.removeprefix("\ufeff"))))
    assert [row["alert_id"] for row in rows] == [str(b), str(a)]
    assert (rows[0]["status"], rows[0]["close_reason"], rows[0]["value"]) == ("CLOSED", "cleared", "9.5")
    assert rows[1]["summary"] == "'=cmd()"


async def test_while_somebody_holds_an_alert_the_answer_is_busy_and_not_a_fault(database: Database) -> None:
    held = add_alert(database)
    async with asking(database) as responder:
        async with ingest(database) as connection, connection.transaction():
            await connection.execute("SELECT FROM fleet_alert WHERE id = %s FOR UPDATE", [held])
            for path, body in (
                (f"{ALERTS}/{held}/acknowledge", {}),
                (BULK, {"action": "close", "alert_ids": [held]}),
            ):
                answered = await responder.raw("POST", path, json=body)
                assert answered.status_code == HTTPStatus.SERVICE_UNAVAILABLE
                assert answered.headers["Retry-After"]
                assert "try again" in answered.json()["detail"]
            await responder.ask("GET", f"{ALERTS}/{held}")
        await responder.ask("POST", f"{ALERTS}/{held}/acknowledge")


async def test_every_operation_is_described(database: Database) -> None:
    async with asking(database) as responder:
        document = Contract((await responder.raw("GET", "/openapi.json")).json()).document
    paths = {path: set(methods) for path, methods in document["paths"].items() if path.startswith(ALERTS)}
    one = f"{ALERTS}/{{alert_id}}"
    steps = ("acknowledge", "unacknowledge", "close", "silence", "unsilence")
    assert paths == {
        ALERTS: {"get"},
        one: {"get", "patch", "delete"},
        BULK: {"post"},
        **{f"{one}/{step}": {"post"} for step in steps},
    }
