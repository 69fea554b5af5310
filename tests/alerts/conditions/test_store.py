"""Conditions raised and ended: one alert each, brought up to date in place, closed when the condition ends."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import (
    end_condition,
    keep,
    raise_condition,
    raise_conditions,
    supersede_conditions,
)
from appliance.db.trio_psycopg import Connection
from appliance.severity import Severity
from tests.support.postgres_server import Database
from tests.support.tenants import NOW, add_tenant, ingest, rows

REOPEN_AFTER = timedelta(days=1)
SOON = NOW + timedelta(seconds=5)
LATER = NOW + timedelta(hours=1)
FULL = Condition("acme", "capacity", AlertType.CAPACITY, Severity.HIGH, "All seats are in use", {"used": 3})

ALERTS = "SELECT status, severity, summary, details, trigger_count, close_reason FROM fleet_alert ORDER BY id"
EVENTS = "SELECT kind, at, details FROM alert_events ORDER BY id"


async def raised(connection: Connection[Any], condition: Condition = FULL, at: Any = NOW) -> None:
    await raise_condition(connection, condition, at, reopen_after=REOPEN_AFTER)


async def closed_by_a_person(connection: Connection[Any], at: Any) -> None:
    await connection.execute(
        "UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, closed_by = 'kim', close_reason = 'closed'"
        " WHERE status <> 'CLOSED'",
        [at],
    )


async def statuses(connection: Connection[Any]) -> list[str]:
    return [row[0] for row in await rows(connection, ALERTS)]


async def test_a_condition_opens_one_alert_and_closes_it(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        for at in (NOW, SOON):
            await raised(connection, at=at)
        assert await rows(connection, ALERTS) == [("OPEN", "high", "All seats are in use", {"used": 3}, 1, None)]
        for _ in range(2):
            await end_condition(connection, "acme", "capacity", LATER)
        assert [(row[0], row[-1]) for row in await rows(connection, ALERTS)] == [("CLOSED", "cleared")]
        assert await rows(connection, EVENTS) == [("opened", NOW, {}), ("closed", LATER, {"reason": "cleared"})]
        await raised(connection, at=LATER)
        assert await statuses(connection) == ["CLOSED", "OPEN"]


async def test_a_condition_whose_place_another_took_says_so(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await supersede_conditions(connection, [FULL.key], LATER)
        assert [(row[0], row[-1]) for row in await rows(connection, ALERTS)] == [("CLOSED", "superseded")]
        assert (await rows(connection, EVENTS))[1:] == [("closed", LATER, {"reason": "superseded"})]
        assert await rows(connection, "SELECT FROM alert_conditions") == []


async def test_what_changes_is_updated_in_place_and_told_when_the_sentence_changed(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await raised(connection, replace(FULL, details={"used": 4}), SOON)
        changed = replace(FULL, summary="3 devices wait for a seat", severity=Severity.CRITICAL)
        await raised(connection, changed, LATER)
        expected = [("OPEN", "critical", "3 devices wait for a seat", {"used": 3}, 3, None)]
        assert await rows(connection, ALERTS) == expected
        assert await rows(connection, EVENTS) == [
            ("opened", NOW, {}), ("updated", LATER, {"summary": "3 devices wait for a seat"}),
        ]  # fmt: skip
        counted = replace(changed, count=17)
        await raised(connection, counted, LATER)
        assert (await rows(connection, ALERTS))[0][4] == 17, "what is counted is the condition's to say"


async def test_an_acknowledged_alert_stays_acknowledged_and_is_closed_by_its_end(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await connection.execute(
            "UPDATE fleet_alert SET status = 'ACKNOWLEDGED', acknowledged_at = %s, acknowledged_by = 'kim'", [NOW]
        )
        await raised(connection, replace(FULL, summary="Still"), SOON)
        assert await statuses(connection) == ["ACKNOWLEDGED"]
        await end_condition(connection, "acme", "capacity", LATER)
        assert await statuses(connection) == ["CLOSED"]


async def test_a_persons_close_holds_until_the_condition_has_ended(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await closed_by_a_person(connection, SOON)
        await raised(connection, replace(FULL, summary="Worse"), LATER)
        assert await statuses(connection) == ["CLOSED"]
        await end_condition(connection, "acme", "capacity", LATER)
        await raised(connection, at=LATER)
        assert await statuses(connection) == ["CLOSED", "OPEN"]


async def test_a_close_of_an_earlier_time_holds_nothing_back(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await closed_by_a_person(connection, SOON)
        await end_condition(connection, "acme", "capacity", SOON)
        await raised(connection, at=LATER)
        gone = "UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = 'device_deactivated'"
        await connection.execute(f"{gone} WHERE status = 'OPEN'".encode(), [LATER])
        await raised(connection, at=LATER)
        assert await statuses(connection) == ["CLOSED", "CLOSED", "OPEN"]


async def test_a_persons_close_holds_for_a_day_at_most(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raised(connection)
        await closed_by_a_person(connection, SOON)
        await raised(connection, at=SOON + REOPEN_AFTER - timedelta(seconds=1))
        assert await statuses(connection) == ["CLOSED"]
        await raised(connection, at=SOON + REOPEN_AFTER)
        assert await statuses(connection) == ["CLOSED", "OPEN"]
        await closed_by_a_person(connection, SOON + REOPEN_AFTER)
        await raised(connection, at=SOON + REOPEN_AFTER + timedelta(hours=1))
        assert await statuses(connection) == ["CLOSED", "CLOSED"], "the second close holds as the first did"


async def test_a_keeper_ends_what_it_does_not_name_and_nothing_of_others(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "rival")
        await raised(connection, replace(FULL, fingerprint="by hand"))
        both = [FULL, replace(FULL, tenant_id="rival")]
        await keep(connection, "capacity", both, NOW, reopen_after=REOPEN_AFTER)
        await keep(connection, "approval", [replace(FULL, fingerprint="approval")], NOW, reopen_after=REOPEN_AFTER)
        assert await statuses(connection) == ["OPEN"] * 4
        await keep(connection, "capacity", both[1:], LATER, reopen_after=REOPEN_AFTER)
        left = "SELECT tenant_id, fingerprint FROM fleet_alert WHERE status = 'OPEN' ORDER BY 1, 2"
        assert await rows(connection, left) == [("acme", "approval"), ("acme", "by hand"), ("rival", "capacity")]


async def test_many_are_raised_as_a_set(database: Database) -> None:
    many = [replace(FULL, fingerprint=f"f{number}") for number in range(2500)]
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raise_conditions(connection, many, NOW, reopen_after=REOPEN_AFTER)
        assert await statuses(connection) == ["OPEN"] * 2500
        await keep(connection, "nobody", many[:10], NOW, reopen_after=REOPEN_AFTER)
        assert await statuses(connection) == ["OPEN"] * 2500, "what has no keeper is not ended by one"


async def test_two_that_raise_the_same_at_once_make_one_alert(database: Database) -> None:
    async with ingest(database) as one, ingest(database) as other:
        await add_tenant(one)
        await other.execute("SET lock_timeout = '100ms'")
        async with one.transaction():
            await raised(one)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await raised(other)
        await raised(other)
        assert await statuses(one) == ["OPEN"]
