"""Whoever writes an event of an alert, the jobs that follow from it are written with it."""

import time
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import trio

from appliance.alerts import actions
from appliance.alerts.actions import AskedStep
from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import end_condition, raise_condition
from appliance.alerts.lifecycle import AlertStep
from appliance.delivery.outbox.job import DELIVERIES_CHANNEL
from appliance.severity import Severity
from tests.alerts.engine.test_observer import WARM, reading
from tests.alerts.silence.fleet import open_fleet
from tests.support.alerts import OPENED_AT, add_alert, add_alerts, insert_alert, insert_event
from tests.support.engine import add_rule, open_engine
from tests.support.pipeline import arrange, furnish, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route, insert_integration, insert_route, insert_tenant, jobs
from tests.support.tenants import BY, customer

MINUTE = timedelta(minutes=1)
ALL = ["OPEN", "ACKNOWLEDGED", "CLOSED"]
IMMEDIATELY = 2.0
"""Seconds in which a batch commits that waits for nobody."""


async def test_a_reading_its_alert_and_the_jobs_are_one_transaction(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    route = add_route(database, add_integration(database))
    at = time.time() - 20
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        assert jobs(database, "event, status, route_id") == [("OPEN", "PENDING", route)]
        together = (
            "SELECT count(*) FROM delivery_jobs AS j JOIN fleet_alert AS a ON a.id = j.alert_id AND a.xmin = j.xmin"
        )
        assert look(database, together) == [(1,)]
        assert look(database, "SELECT count(*) FROM alert_events AS e JOIN delivery_jobs AS j ON j.xmin = e.xmin") == [
            (1,)
        ]
        await engine.stack.send(reading(1, at + 1))
    assert jobs(database, "event, next_run_at = created_at") == [("OPEN", True), ("CLOSED", True)]


async def test_what_opens_and_closes_within_a_batch_has_both_jobs(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    add_route(database, add_integration(database))
    at = time.time() - 7200
    async with open_engine(database, backlog=86_400) as engine:
        await engine.stack.send(*[reading(9 if number % 2 else 1, at + number) for number in range(5)])
    due = "extract(epoch FROM next_run_at - created_at)::int"
    assert sorted(jobs(database, f"alert_id, event, {due}")) == sorted(
        [(alert, event, wait) for (alert,) in look(database, "SELECT id FROM fleet_alert")
        for event, wait in (("OPEN", 60), ("CLOSED", 0))]
    )  # fmt: skip
    assert len(jobs(database)) == 4


async def test_an_alert_that_is_open_already_makes_no_job(database: Database) -> None:
    """Another process was first: the row conflicts, and so there is no event."""
    await furnish(database)
    rule = add_rule(database, WARM)
    add_route(database, add_integration(database))
    add_alert(database, rule_id=rule, device_id="d-1")
    assert [event for _, event in jobs(database)] == ["OPEN"]
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, time.time() - 5))
    assert len(look(database, "SELECT id FROM fleet_alert")) == len(jobs(database)) == 1


async def test_a_batch_waits_for_nobody_who_edits_a_route_or_an_integration(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    add_route(database, add_integration(database))
    at = time.time() - 20
    async with open_engine(database) as engine:
        with psycopg.connect(database.conninfo()) as editor:
            editor.execute("SELECT FROM integration_routes FOR UPDATE")
            editor.execute("SELECT FROM integrations FOR UPDATE")
            editor.execute("UPDATE integration_routes SET name = 'edited'")
            with trio.fail_after(IMMEDIATELY):
                await engine.stack.send(reading(9, at))
                await engine.stack.send(reading(1, at + 1))
            assert [event for _, event in jobs(database)] == ["OPEN", "CLOSED"]
            editor.rollback()


async def test_what_people_do_with_alerts_is_told_one_by_one_and_many_at_once(database: Database) -> None:
    add_route(database, add_integration(database), deliver_on=ALL)
    first, second = add_alerts(database, 2)
    async with customer(database, "acme") as connection:
        for step in (AlertStep.ACKNOWLEDGE, AlertStep.UNACKNOWLEDGE, AlertStep.ACKNOWLEDGE):
            await actions.take(connection, "acme", first, AskedStep(step), BY)
        await actions.add_note(connection, "acme", first, "on it", BY)
        await actions.take_many(connection, "acme", [first, second], AskedStep(AlertStep.CLOSE), BY)
    assert jobs(database, "alert_id, event, occurrence, created_at") == [
        (first, "OPEN", 1, OPENED_AT),
        (second, "OPEN", 1, OPENED_AT),
        (first, "ACKNOWLEDGED", 1, BY.now),
        (first, "ACKNOWLEDGED", 2, BY.now),
        (first, "CLOSED", 1, BY.now),
        (second, "CLOSED", 1, BY.now),
    ]


ENDS = {
    "rule disabled": "UPDATE alert_rules SET enabled = false, updated_at = now()",
    "rule deleted": "UPDATE alert_rules SET deleted_at = now(), updated_at = now()",
    "device deactivated": "UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL, updated_at = now()",
    "device deleted": "DELETE FROM device_registry",
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS.keys())
async def test_the_end_by_a_change_of_rule_or_device_is_told(database: Database, change: str) -> None:
    await furnish(database)
    rule = add_rule(database, WARM)
    add_route(database, add_integration(database), tags=[], device_prefixes=["d-"])
    async with open_engine(database) as engine:
        await engine.stack.send(*[reading(9, time.time() - 5, f"d-{number}") for number in range(3)])
    opened = [alert for (alert,) in look(database, "SELECT id FROM fleet_alert ORDER BY id")]
    assert jobs(database) == [(alert, "OPEN") for alert in opened]
    if "device" in change:
        arrange(database, "DELETE FROM device_credentials", change)
    else:
        arrange(database, f"{change} WHERE rule_id = '{rule}'")
    assert jobs(database)[3:] == [(alert, "CLOSED") for alert in opened]


async def test_conditions_and_silence_are_told(database: Database) -> None:
    full = Condition("acme", "capacity", AlertType.CAPACITY, Severity.HIGH, "All seats are in use", {})
    async with open_fleet(database) as fleet:
        add_route(database, add_integration(database))
        await raise_condition(fleet.connection, full, OPENED_AT, reopen_after=MINUTE)
        await raise_condition(fleet.connection, replace(full, summary="Fuller"), OPENED_AT, reopen_after=MINUTE)
        await end_condition(fleet.connection, "acme", "capacity", OPENED_AT + MINUTE)
        assert [event for _, event in jobs(database)] == ["OPEN", "CLOSED"]
        await fleet.add("a")
        await fleet.hear("a", at=0)
        await fleet.round(300)
        await fleet.hear("a", at=301)
        await fleet.round(302)
    assert [event for _, event in jobs(database)] == ["OPEN", "CLOSED"] * 2


def test_a_delay_counts_from_the_opening_and_never_shortens_what_is_due_later(database: Database) -> None:
    integration = add_integration(database)
    names = {add_route(database, integration, delay_seconds=seconds): seconds for seconds in (0, 60, 900)}
    add_alert(database, due_at=OPENED_AT + 2 * MINUTE)
    found = {names[route]: due - OPENED_AT for route, due in jobs(database, "route_id, next_run_at")}
    assert found == {0: 2 * MINUTE, 60: 2 * MINUTE, 900: 15 * MINUTE}


def test_the_end_goes_where_the_beginning_was_told(database: Database) -> None:
    """A person has pointed the route somewhere else meanwhile; what was opened there would stay open for ever."""
    told, later = add_integration(database), add_integration(database)
    route = add_route(database, told)
    alert = add_alert(database)
    other = add_alert(database, fingerprint="other")
    arrange(database, f"UPDATE integration_routes SET integration_id = '{later}', severities = '{{low}}'")
    with psycopg.connect(database.conninfo()) as connection:
        insert_event(connection, alert, "closed")
    columns = "alert_id, event, route_id, integration_id"
    assert jobs(database, columns)[2:] == [(alert, "CLOSED", route, told)]
    arrange(database, "UPDATE integrations SET enabled = false", "UPDATE integration_routes SET enabled = false")
    with psycopg.connect(database.conninfo()) as connection:
        insert_event(connection, other, "closed")
        insert_event(connection, insert_alert(connection), "closed")
    assert jobs(database, columns)[3:] == [(other, "CLOSED", route, told)], "by what is off, too"


def test_a_route_that_is_off_ends_what_it_told_and_stops_no_other(database: Database) -> None:
    integration = add_integration(database)
    told = add_route(database, integration, priority=1, stop=True)
    alert = add_alert(database)
    arrange(database, "UPDATE integration_routes SET enabled = false")
    other = add_route(database, integration, priority=2, deliver_on=["CLOSED"])
    with psycopg.connect(database.conninfo()) as connection:
        insert_event(connection, alert, "closed")
    assert jobs(database, "event, route_id") == [("OPEN", told), ("CLOSED", told), ("CLOSED", other)]


def test_what_was_told_gets_its_end_whatever_route_stops_others(database: Database) -> None:
    integration = add_integration(database)
    first = add_route(database, integration, priority=1, deliver_on=["CLOSED"], stop=True)
    told = add_route(database, integration, priority=2)
    add_route(database, integration, priority=3, deliver_on=["CLOSED"])
    alert = add_alert(database)
    with psycopg.connect(database.conninfo()) as connection:
        insert_event(connection, alert, "closed")
    assert jobs(database, "event, route_id") == [("OPEN", told), ("CLOSED", first), ("CLOSED", told)]


def test_routes_of_another_tenant_take_nothing(database: Database) -> None:
    add_route(database, add_integration(database, "other"), "other")
    mine = add_route(database, add_integration(database))
    add_alert(database)
    assert jobs(database, "tenant_id, route_id") == [("acme", mine)]


async def test_customers_write_jobs_only_by_events(database: Database) -> None:
    add_route(database, add_integration(database))
    alert = add_alert(database)
    async with customer(database, "acme") as connection:
        columns = "tenant_id, alert_id, route_id, integration_id, event, created_at, next_run_at"
        values = f"tenant_id, {alert}, route_id, integration_id, 'CLOSED', created_at, created_at"
        insert = f"INSERT INTO delivery_jobs ({columns}) SELECT {values} FROM integration_routes"
        for statement in (insert, "DELETE FROM delivery_jobs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with connection.transaction():
                    await connection.execute(statement.encode())


def test_couriers_are_told_of_new_jobs_and_of_nothing_else(database: Database) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as listener:
        listener.execute(f"LISTEN {DELIVERIES_CHANNEL}".encode())
        add_alert(database)
        add_route(database, add_integration(database))
        assert list(listener.notifies(timeout=0.1)) == []
        add_alert(database)
        found = [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)]
    assert found == ['{"tenants": ["acme"]}']


def test_without_routes_nothing_else_is_read_and_with_them_rows_are_read_by_key(database: Database) -> None:
    """Plans are kept for a session that may begin with empty tables: batches must not become slower by the day."""
    with psycopg.connect(database.conninfo()) as connection:
        insert_tenant(connection, "acme")
        insert_alert(connection)
        untouched = ("delivery_jobs", "integrations", "device_registry")
        assert {row for row in connection.execute(LOOKS).fetchall() if row[0] in untouched} == {
            (table, 0, 0) for table in untouched
        }
        connection.execute(MANY_ALERTS)
        for number in range(20):
            insert_route(connection, insert_integration(connection), priority=number, deliver_on=ALL)
        connection.execute("ANALYZE fleet_alert, integrations, integration_routes, delivery_jobs")
        connection.commit()
        for kind in ("acknowledged", "closed"):
            insert_event(connection, insert_alert(connection), kind)
        looks = connection.execute(LOOKS).fetchall()
        assert [table for table, whole, _ in looks if whole] == []
        assert "integration_routes" in [table for table, _, by_key in looks if by_key]
        assert connection.execute("SELECT count(*) FROM delivery_jobs").fetchone() == (80,)


MANY_ALERTS = """
INSERT INTO fleet_alert (tenant_id, alert_type, fingerprint, severity, summary, created_at, started_at,
  last_triggered_at, due_at)
SELECT 'acme', 'SYSTEM', 'many:' || n, 'low', 's', now(), now(), now(), now() FROM generate_series(1, 500) AS n
"""
"""So many that keys to them are checked by an index."""
LOOKS = """
SELECT relname, coalesce(seq_scan, 0), coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables WHERE relname IN (
  'fleet_alert', 'device_registry', 'integrations', 'integration_routes', 'delivery_jobs')
"""
"""How often each table was looked at in this transaction: as a whole, and by an index."""
