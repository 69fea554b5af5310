"""What people do with alerts: each step with its timeline and audit, one alert or many, and what stands in the way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
import trio

from appliance.alerts import actions
from appliance.alerts.actions import (
    BULK_STEPS,
    LOCK_TIMEOUT_MS,
    MAX_ALERTS,
    MAX_NOTE,
    STATEMENT_TIMEOUT_MS,
    UPDATES,
    AlertAnswer,
    AlertOutcome,
    AskedStep,
)
from appliance.alerts.alert import Status
from appliance.alerts.lifecycle import AlertStep
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError, Busy, Conflict, Invalid, NotFound
from tests.support.alerts import OPENED_AT, add_alert, add_alerts, add_rule, alert_row, entries_of
from tests.support.postgres_server import Database
from tests.support.tenants import customer, ingest

NOW = OPENED_AT + timedelta(hours=1)
SOON = NOW + timedelta(minutes=30)
ANN = ChangeContext(Actor("ann@acme.example", ActorKind.USER, "192.0.2.7"), NOW, NOW, None)
ACKNOWLEDGE, UNACKNOWLEDGE, CLOSE = map(AskedStep, (AlertStep.ACKNOWLEDGE, AlertStep.UNACKNOWLEDGE, AlertStep.CLOSE))
SILENCE = AskedStep(AlertStep.SILENCE, "being repaired", SOON)
UNSILENCE, DELETE = AskedStep(AlertStep.UNSILENCE), AskedStep(AlertStep.DELETE)


async def take(database: Database, alert_id: int, asked: AskedStep, context: ChangeContext = ANN) -> None:
    async with customer(database, "acme") as connection:
        await actions.take(connection, "acme", alert_id, asked, context)


async def take_many(database: Database, alert_ids: list[int], asked: AskedStep) -> list[AlertAnswer]:
    async with customer(database, "acme") as connection:
        return await actions.take_many(connection, "acme", alert_ids, asked, ANN)


def row_of(database: Database, alert_id: int) -> dict[str, Any]:
    row = alert_row(database, alert_id)
    assert row is not None
    return row


def audit_of(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            "SELECT action, actor, object_id, before, after FROM audit_log ORDER BY id"
        ).fetchall()


async def test_an_acknowledgement_is_recorded_and_can_be_undone(database: Database) -> None:
    alert_id = add_alert(database)
    await take(database, alert_id, replace(ACKNOWLEDGE, note="  on it\r\nsoon "))
    row = row_of(database, alert_id)
    assert (row["status"], row["acknowledged_by"]) == ("ACKNOWLEDGED", "ann@acme.example")
    assert datetime.fromisoformat(row["acknowledged_at"]) == NOW
    await take(database, alert_id, UNACKNOWLEDGE)
    row = row_of(database, alert_id)
    assert (row["status"], row["acknowledged_by"], row["acknowledged_at"]) == ("OPEN", None, None)
    assert entries_of(database, alert_id) == [
        ("opened", None, None),
        ("acknowledged", "ann@acme.example", "on it\nsoon"),
        ("unacknowledged", "ann@acme.example", None),
    ]
    assert audit_of(database) == [
        (
            "alert.acknowledge",
            "ann@acme.example",
            str(alert_id),
            {"status": "OPEN"},
            {"status": "ACKNOWLEDGED", "note": "on it\nsoon"},
        ),
        ("alert.unacknowledge", "ann@acme.example", str(alert_id), {"status": "ACKNOWLEDGED"}, {"status": "OPEN"}),
    ]


async def test_a_person_closes_with_a_reason_and_the_state_of_the_rule_stays(database: Database) -> None:
    rule = add_rule(database)
    alert_id = add_alert(database, rule_id=rule)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO alert_rule_state (tenant_id, rule_id, device_id, rule_version, version, judged_ts, state)"
            " VALUES ('acme', %s, 'd1', 1, 1, 1, '[true]')",
            [rule],
        )
    await take(database, alert_id, replace(CLOSE, note="door shut"))
    row = row_of(database, alert_id)
    assert (row["status"], row["closed_by"], row["close_reason"], row["past"]) == (
        "CLOSED",
        "ann@acme.example",
        "closed",
        False,
    )
    assert entries_of(database, alert_id)[-1] == ("closed", "ann@acme.example", "door shut")
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT version, state FROM alert_rule_state").fetchall() == [(1, [True])]


@pytest.mark.parametrize(
    ("status", "due", "past"),
    [("OPEN", SOON, True), ("OPEN", NOW, False), ("ACKNOWLEDGED", SOON, False)],
)
async def test_closed_before_its_notices_were_due_it_is_past(
    database: Database, status: str, due: datetime, past: bool
) -> None:
    alert_id = add_alert(database, status=status, due_at=due)
    await take(database, alert_id, CLOSE)
    assert row_of(database, alert_id)["past"] is past


async def test_a_silence_has_an_end_and_a_reason_and_can_be_moved_and_ended(database: Database) -> None:
    alert_id = add_alert(database)
    await take(database, alert_id, SILENCE)
    later = (SOON + timedelta(hours=1)).astimezone(timezone(timedelta(hours=2)))
    await take(database, alert_id, AskedStep(AlertStep.SILENCE, "takes longer", later))
    row = row_of(database, alert_id)
    assert (row["status"], row["silenced_by"], row["silence_reason"]) == ("OPEN", "ann@acme.example", "takes longer")
    assert datetime.fromisoformat(row["silenced_until"]) == later
    await take(database, alert_id, UNSILENCE)
    row = row_of(database, alert_id)
    assert (row["silenced_until"], row["silenced_by"], row["silence_reason"]) == (None, None, None)
    with pytest.raises(Conflict, match="not silenced") as refused:
        await take(database, alert_id, UNSILENCE)
    assert refused.value.present_status == "OPEN"
    assert [entry[0] for entry in entries_of(database, alert_id)] == ["opened", "silenced", "silenced", "unsilenced"]


async def test_while_the_clock_is_in_doubt_no_silence_is_over(database: Database) -> None:
    ended = NOW - timedelta(minutes=1)
    alert_id = add_alert(database, silenced_until=ended)
    with pytest.raises(Conflict, match="not silenced"):
        await take(database, alert_id, UNSILENCE)
    await take(database, alert_id, UNSILENCE, replace(ANN, settled=ended - timedelta(minutes=1)))
    assert row_of(database, alert_id)["silenced_until"] is None


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (AskedStep(AlertStep.SILENCE, "", SOON), "reason"),
        (AskedStep(AlertStep.SILENCE, " \n ", SOON), "reason"),
        (AskedStep(AlertStep.SILENCE, "x", None), "until"),
        (AskedStep(AlertStep.SILENCE, "x", NOW), "until"),
        (AskedStep(AlertStep.SILENCE, "x", NOW + timedelta(days=367)), "until"),
        (AskedStep(AlertStep.SILENCE, "x", SOON.replace(tzinfo=None)), "until"),
        (AskedStep(AlertStep.SILENCE, "x", datetime.max.replace(tzinfo=UTC)), "until"),
        (AskedStep(AlertStep.SILENCE, "x", datetime.min.replace(tzinfo=UTC)), "until"),
        (AskedStep(AlertStep.SILENCE, "x" * (MAX_NOTE + 1), SOON), "reason"),
        (AskedStep(AlertStep.ACKNOWLEDGE, "a\0b"), "note"),
        (AskedStep(AlertStep.CLOSE, "\ud800"), "note"),
        (AskedStep(AlertStep.CLOSE, "\x1b[31m"), "note"),
    ],
)
async def test_what_does_not_fit_names_its_field_and_changes_nothing(
    database: Database, asked: AskedStep, field: str
) -> None:
    alert_id = add_alert(database)
    before = alert_row(database, alert_id)
    with pytest.raises(Invalid) as refused:
        await take(database, alert_id, asked)
    assert refused.value.field == field
    with pytest.raises(Invalid):
        await take_many(database, [alert_id], asked)
    assert alert_row(database, alert_id) == before
    assert audit_of(database) == []


async def test_a_note_is_for_every_status(database: Database) -> None:
    for status in Status:
        alert_id = add_alert(database, status=status.value)
        async with customer(database, "acme") as connection:
            await actions.add_note(connection, "acme", alert_id, "seen\nbefore", ANN)
        assert entries_of(database, alert_id)[-1] == ("note", "ann@acme.example", "seen\nbefore")
    assert [row[0] for row in audit_of(database)] == ["alert.note"] * 3
    async with customer(database, "acme") as connection:
        with pytest.raises(Invalid, match="Write"):
            await actions.add_note(connection, "acme", alert_id, "  ", ANN)
        with pytest.raises(NotFound):
            await actions.add_note(connection, "acme", 10**9, "x", ANN)


async def test_only_a_closed_alert_is_deleted_with_its_timeline(database: Database) -> None:
    alert_id = add_alert(database)
    with pytest.raises(Conflict, match="OPEN"):
        await take(database, alert_id, DELETE)
    await take(database, alert_id, CLOSE)
    await take(database, alert_id, DELETE)
    assert alert_row(database, alert_id) is None
    assert entries_of(database, alert_id) == []
    with pytest.raises(NotFound):
        await take(database, alert_id, DELETE)
    assert [(row[0], row[3], row[4]) for row in audit_of(database)][-1] == ("alert.delete", {"status": "CLOSED"}, None)


async def test_an_impossible_step_is_refused_with_the_present_status(database: Database) -> None:
    alert_id = add_alert(database, status="CLOSED")
    for asked in (ACKNOWLEDGE, UNACKNOWLEDGE, CLOSE, SILENCE, UNSILENCE):
        with pytest.raises(Conflict, match="CLOSED") as refused:
            await take(database, alert_id, asked)
        assert refused.value.present_status == "CLOSED"
    assert len(entries_of(database, alert_id)) == 1
    assert audit_of(database) == []


async def test_an_inhibited_alert_names_its_cause_until_that_is_closed(database: Database) -> None:
    cause = add_alert(database)
    alert_id = add_alert(database, inhibited_by=cause)
    for asked in (ACKNOWLEDGE, CLOSE, SILENCE, UNSILENCE):
        with pytest.raises(Conflict, match=f"Alert {cause} stands for this one"):
            await take(database, alert_id, asked)
    assert await take_many(database, [alert_id], CLOSE) == [
        AlertAnswer(alert_id, AlertOutcome.CONFLICT, Status.OPEN, cause)
    ]
    await take(database, cause, CLOSE)
    await take(database, alert_id, CLOSE)
    assert row_of(database, alert_id)["status"] == "CLOSED"


async def test_many_alerts_have_an_answer_each_and_one_row_in_the_audit(database: Database) -> None:
    cause, first, second = add_alerts(database, 3)
    acknowledged, closed = add_alert(database, status="ACKNOWLEDGED"), add_alert(database, status="CLOSED")
    inhibited, rival = add_alert(database, inhibited_by=cause), add_alert(database, "rival")
    asked = [second, closed, rival, acknowledged, first, inhibited, second, -1, 0, 2**63, 10**40]
    assert await take_many(database, asked, replace(ACKNOWLEDGE, note="all of them")) == [
        AlertAnswer(second, AlertOutcome.DONE, Status.ACKNOWLEDGED),
        AlertAnswer(closed, AlertOutcome.CONFLICT, Status.CLOSED),
        AlertAnswer(rival, AlertOutcome.NOT_FOUND, None),
        AlertAnswer(acknowledged, AlertOutcome.UNCHANGED, Status.ACKNOWLEDGED),
        AlertAnswer(first, AlertOutcome.DONE, Status.ACKNOWLEDGED),
        AlertAnswer(inhibited, AlertOutcome.CONFLICT, Status.OPEN, cause),
        *[AlertAnswer(alert_id, AlertOutcome.NOT_FOUND, None) for alert_id in (-1, 0, 2**63, 10**40)],
    ]
    assert entries_of(database, first)[-1] == ("acknowledged", "ann@acme.example", "all of them")
    assert audit_of(database) == [
        (
            "alert.acknowledge",
            "ann@acme.example",
            "2 alerts",
            None,
            {"note": "all of them", "alert_ids": [second, first]},
        )
    ]


@pytest.mark.parametrize(
    ("asked", "status"),
    [(ACKNOWLEDGE, "ACKNOWLEDGED"), (CLOSE, "CLOSED"), (SILENCE, "OPEN"), (UNSILENCE, "OPEN")],
)
async def test_a_thousand_alerts_take_every_step_that_many_may(
    database: Database, asked: AskedStep, status: str
) -> None:
    ids = add_alerts(database, MAX_ALERTS, silenced_until=SOON)
    answers = await take_many(database, ids, asked)
    assert {(one.outcome, one.status) for one in answers} == {(AlertOutcome.DONE, Status(status))}
    assert [one.alert_id for one in answers] == ids
    with psycopg.connect(database.conninfo()) as connection:
        steps = connection.execute(
            "SELECT count(DISTINCT alert_id) FROM alert_events WHERE kind <> 'opened'"
        ).fetchone()
    assert steps == (MAX_ALERTS,)
    assert len(audit_of(database)) == 1


async def test_what_changes_nothing_leaves_no_row(database: Database) -> None:
    closed = add_alert(database, status="CLOSED")
    (answer,) = await take_many(database, [closed], CLOSE)
    assert answer.outcome is AlertOutcome.UNCHANGED
    (answer,) = await take_many(database, [add_alert(database)], UNSILENCE)
    assert answer.outcome is AlertOutcome.UNCHANGED
    assert audit_of(database) == []


async def test_many_is_one_to_a_thousand_and_never_a_deletion(database: Database) -> None:
    add_alert(database)
    for alert_ids, asked, field in (
        ([], CLOSE, "alert_ids"),
        (list(range(MAX_ALERTS + 1)), CLOSE, "alert_ids"),
        ([1], DELETE, "action"),
    ):
        with pytest.raises(Invalid) as refused:
            await take_many(database, alert_ids, asked)
        assert refused.value.field == field
    assert set(AlertStep) == set(UPDATES) == BULK_STEPS | {AlertStep.DELETE}


@asynccontextmanager
async def idle_transaction(database: Database, alert_ids: list[int]) -> AsyncIterator[None]:
    """Hold alerts as a person does who typed BEGIN, SELECT ... FOR UPDATE, and went for lunch."""
    async with ingest(database) as connection, connection.transaction():
        await connection.execute("SELECT FROM fleet_alert WHERE id = ANY(%s) FOR UPDATE", [alert_ids])
        yield


async def test_an_idle_transaction_keeps_people_waiting_no_longer_than_the_bounds(database: Database) -> None:
    held, free = add_alerts(database, 10), add_alert(database)
    outcomes: list[ApplianceError] = []

    async def try_to(act: Any) -> None:
        with pytest.raises(Busy, match="try again") as refused:
            await act
        outcomes.append(refused.value)

    async def note(alert_id: int) -> None:
        async with customer(database, "acme") as connection:
            await actions.add_note(connection, "acme", alert_id, "x", ANN)

    async with idle_transaction(database, held):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(try_to, take(database, held[0], CLOSE))
                nursery.start_soon(try_to, take(database, held[2], SILENCE))
                nursery.start_soon(try_to, take_many(database, [free, *held], ACKNOWLEDGE))
                nursery.start_soon(try_to, note(held[1]))
        await take(database, free, ACKNOWLEDGE)
    assert len(outcomes) == 4
    for alert_id in held:
        assert row_of(database, alert_id)["status"] == "OPEN"
        assert len(entries_of(database, alert_id)) == 1
    assert [row[0] for row in audit_of(database)] == ["alert.acknowledge"], "the free one alone"
    await take(database, held[0], CLOSE)


async def test_every_statement_of_an_action_is_bounded_and_only_there(database: Database) -> None:
    alert_id = add_alert(database)
    async with ingest(database) as connection:
        async with connection.transaction():
            await actions.take(connection, "acme", alert_id, CLOSE, ANN)
            assert await bounds(connection) == (f"{STATEMENT_TIMEOUT_MS // 1000}s", f"{LOCK_TIMEOUT_MS}ms")
        assert "0" in await bounds(connection), "SET LOCAL"


async def bounds(connection: Connection[Any]) -> tuple[str, str]:
    query = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_two_who_close_the_same_alerts_in_other_orders_do_not_block_each_other(database: Database) -> None:
    ids = add_alerts(database, 200)
    outcomes: list[AlertOutcome] = []

    async def close(order: list[int]) -> None:
        outcomes.extend(one.outcome for one in await take_many(database, order, CLOSE))

    async with trio.open_nursery() as nursery:
        for order in (ids, ids[::-1], ids[100:] + ids[:100]):
            nursery.start_soon(close, order)
    assert outcomes.count(AlertOutcome.DONE) == 200
    assert outcomes.count(AlertOutcome.UNCHANGED) == 400


async def test_a_closed_alert_may_open_anew_as_another(database: Database) -> None:
    alert_id = add_alert(database, fingerprint="same")
    with pytest.raises(psycopg.errors.UniqueViolation):
        add_alert(database, fingerprint="same")
    await take(database, alert_id, CLOSE)
    assert add_alert(database, fingerprint="same") != alert_id
