"""What changes while readings are on their way, and what the engine keeps of devices then."""

import time
from typing import Any

import psycopg
import pytest
import trio

from appliance.alerts.engine.rule_book import RuleBook
from tests.alerts.engine.test_observer import WARM, reading
from tests.support.engine import Engine, add_rule, alerts, open_engine
from tests.support.pipeline import arrange, furnish, look, telemetry, until
from tests.support.postgres_server import Database

STATUSES = "device_id, status"


def versions(engine: Engine) -> set[tuple[str, int]]:
    """Return name and version of the rules that the engine judges by."""
    tenant = engine.book._tenants.get("acme")
    return set() if tenant is None else {(rule.name, rule.version) for rule in tenant._rules}


async def test_a_state_of_a_rule_as_it_was_before_does_not_stand_in_the_way(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 2})
    at = time.time() - 50
    arrange(database, "UPDATE alert_rules SET severity = 'low', parameters = parameters || '{\"value\": 7}'")
    left = "INSERT INTO alert_rule_state SELECT tenant_id, rule_id, 'd-1', 1, 5, 1, '[false, 0, 1]' FROM alert_rules"
    arrange(database, left)
    async with open_engine(database) as engine:
        with trio.fail_after(10):
            await engine.stack.send(reading(9, at))
            await engine.stack.send(reading(9, at + 1))
    assert alerts(database, STATUSES) == [("d-1", "OPEN")]


async def test_devices_of_a_batch_stay_watched_when_others_must_make_room(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database, capacity=20) as engine:
        await engine.stack.send(*[reading(1, at, f"d-{number}") for number in range(20)])
        await engine.stack.send(
            *[reading(9, at + 1, f"d-{number}") for number in range(5)],
            *[reading(9, at + 1, f"e-{number}") for number in range(25)],
        )
        assert len(alerts(database)) == 30
        await engine.stack.send(*[reading(1, at + 2, f"d-{number}") for number in range(20)])
        await engine.stack.send(*[reading(1, at + 2, f"e-{number}") for number in range(25)])
        assert len(engine.book.watches) <= 45
    assert look(database, "SELECT count(*) FROM fleet_alert WHERE status = 'CLOSED'") == [(30,)]


async def test_a_breach_that_returns_before_its_end_could_be_written_keeps_its_alert(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT * FROM fleet_alert FOR UPDATE")
            await engine.stack.send(reading(2, at + 1))
            assert look(database, "SELECT count(*) FROM alert_ends") == [(1,)]
            await engine.stack.send(reading(10, at + 2))
        await engine.upkeep.round()
        await engine.stack.send(reading(11, at + 3))
        assert look(database, "SELECT count(*) FROM fleet_alert WHERE status <> 'CLOSED'") == [(1,)]
        await engine.stack.send(reading(1, at + 4))
        await engine.upkeep.round()
    assert look(database, "SELECT count(*) FROM fleet_alert WHERE status <> 'CLOSED'") == [(0,)]


async def test_a_metric_that_a_new_rule_names_is_compared_with_its_last_value(database: Database) -> None:
    await furnish(database)
    add_rule(database, {"metric": "a"}, kind="change", name="A")
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(telemetry("d-1", b'{"ts":%d,"a":1,"b":1}' % round(1000 * at)))
        add_rule(database, {"metric": "b"}, kind="change", name="B")
        await until(lambda: versions(engine) == {("A", 1), ("B", 1)})
        await engine.stack.send(telemetry("d-1", b'{"ts":%d,"b":2}' % round(1000 * (at + 1))))
    assert alerts(database, "summary, status") == [("B", "OPEN")]


@pytest.mark.parametrize("others", [set(), {("A", 1)}])
async def test_a_value_from_before_nobody_named_the_metric_is_not_compared_with(
    database: Database, others: set[tuple[str, int]]
) -> None:
    await furnish(database)
    if others:
        add_rule(database, {"metric": "a"}, kind="change", name="A")
    add_rule(database, {"metric": "b"}, kind="change", name="B")
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(telemetry("d-1", b'{"ts":%d,"a":1,"b":1}' % round(1000 * at)))
        arrange(database, "UPDATE alert_rules SET enabled = false WHERE name = 'B'")
        await until(lambda: versions(engine) == others)
        await engine.stack.send(telemetry("d-1", b'{"ts":%d,"a":1,"b":2}' % round(1000 * (at + 1))))
        arrange(database, "UPDATE alert_rules SET enabled = true WHERE name = 'B'")
        await until(lambda: versions(engine) == {*others, ("B", 3)})
        await engine.stack.send(telemetry("d-1", b'{"ts":%d,"a":1,"b":2}' % round(1000 * (at + 2))))
    assert alerts(database) == []


async def test_a_failed_look_at_the_states_is_made_again(database: Database, monkeypatch: Any) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
    async with open_engine(database) as engine:
        queries = {**engine.observer._queries, "load_states": b"SELECT 1 / 0 /* %(tenants)s %(devices)s */"}
        with monkeypatch.context() as broken:
            broken.setattr(engine.observer, "_queries", queries)
            await engine.stack.send(reading(1, at + 1))
        await engine.stack.send(reading(1, at + 2))
    assert alerts(database, STATUSES) == [("d-1", "CLOSED")]


async def test_a_device_that_has_left_the_scope_opens_nothing(database: Database, monkeypatch: Any) -> None:
    await furnish(database)
    add_rule(database, WARM, scope={"tags": ["cold"]})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        arrange(database, "UPDATE device_registry SET tags = '{cold}', updated_at = now()")
        await until(lambda: ("acme", "d-1") not in engine.book.watches)
        await engine.stack.send(reading(1, at + 1))
        monkeypatch.setattr(RuleBook, "_take_moves", lambda _self, _message: None)
        arrange(database, "UPDATE device_registry SET tags = '{}', updated_at = now()")
        await engine.stack.send(reading(9, at + 2))
    assert alerts(database) == []


async def test_counts_of_an_alert_that_a_change_of_its_rule_ended_are_not_those_of_the_next(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        engine.observer._counted_at = round(time.time() * 1e6)
        await engine.stack.send(*[reading(9, at + number) for number in range(1, 5)])
        arrange(database, "UPDATE alert_rules SET parameters = parameters || '{\"value\": 7}', updated_at = now()")
        await until(lambda: versions(engine) == {("Too warm", 2)})
        await engine.stack.send(reading(9, at + 6))
        await until(lambda: not engine.observer._triggers)
    assert alerts(database, "trigger_count")[-1] == (1,)


LEFT = """
INSERT INTO alert_rule_state SELECT tenant_id, rule_id, 'd-1', version, 5, 1, '[true]' FROM alert_rules
ON CONFLICT (tenant_id, rule_id, device_id) DO UPDATE SET state = '[true]'
"""
"""What a batch leaves that was in flight while the device went."""
REACTIVATE = "UPDATE device_registry SET status = 'ACTIVE', subscription_id = (SELECT subscription_id FROM kept)"
ADD = "INSERT INTO device_registry SELECT (r).* FROM (SELECT r FROM kept AS r) AS one"


@pytest.mark.parametrize(
    ("goes", "returns"),
    [
        ("UPDATE device_registry SET tags = '{}'", "UPDATE device_registry SET tags = '{cold}'"),
        ("UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL", REACTIVATE),
        ("DELETE FROM device_registry", ADD),
    ],
)
async def test_a_device_that_is_back_starts_anew_whatever_a_batch_in_flight_left(
    database: Database, goes: str, returns: str
) -> None:
    await furnish(database)
    add_rule(database, WARM, scope={"tags": ["cold"]})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
    arrange(database, "UPDATE device_registry SET tags = '{cold}', updated_at = now()")
    arrange(database, "CREATE TABLE kept AS SELECT * FROM device_registry")
    arrange(database, goes)
    arrange(database, LEFT)
    arrange(database, returns)
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at + 1))
    assert alerts(database, STATUSES) == [("d-1", "OPEN")]
