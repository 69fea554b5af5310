"""What people and backlogs do to the stream, and the stream to them."""

import random
import time

import psycopg
import trio

from tests.alerts.engine.test_observer import WARM, reading
from tests.support import soak
from tests.support.engine import add_rule, alerts, open_engine
from tests.support.pipeline import furnish, look, until
from tests.support.postgres_server import Database

LONGEST_WAIT = 1.0
"""Seconds that readings wait for what a person holds."""
DEVICES = soak.times(20)
BLIPS = soak.times(30)
BULK = soak.times(100)
CLOSE = """
WITH held AS (SELECT id FROM fleet_alert WHERE status <> 'CLOSED' ORDER BY id FOR NO KEY UPDATE)
UPDATE fleet_alert AS a SET status = 'CLOSED', closed_at = now(), closed_by = 'kim', close_reason = 'closed'
FROM held WHERE a.id = held.id
"""


async def test_two_hours_of_backlog_with_blips_are_recorded_and_all_of_them_past(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    begin = time.time() - 7200
    chance = random.Random(3)
    blips = set(chance.sample([(device, minute) for device in range(DEVICES) for minute in range(1, 119)], BLIPS))
    async with open_engine(database, backlog=86_400) as engine:
        for device in range(DEVICES):
            messages = []
            for minute in range(120):
                value = 9 if (device, minute) in blips else 4
                at = begin + 60 * minute
                messages += [reading(value, at, f"d-{device}"), reading(4, at + 30, f"d-{device}")]
            await engine.stack.send(*messages)
    assert look(database, "SELECT status, past, count(*) FROM fleet_alert GROUP BY 1, 2") == [("CLOSED", True, BLIPS)]
    assert look(database, "SELECT count(DISTINCT (device_id, started_at)) FROM fleet_alert") == [(BLIPS,)]


async def test_an_idle_transaction_that_holds_alerts_holds_up_no_readings(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(*[reading(9, at, f"d-{number}") for number in range(20)])
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT id FROM fleet_alert ORDER BY id LIMIT 10 FOR UPDATE")
            for second in range(1, 4):
                with trio.fail_after(LONGEST_WAIT):
                    messages = [reading(9.5 if second < 3 else 1, at + second, f"d-{number}") for number in range(20)]
                    await engine.stack.send(*messages)
            statuses = "SELECT status, count(*) FROM fleet_alert GROUP BY 1 ORDER BY 1"
            assert look(database, statuses) == [("CLOSED", 10), ("OPEN", 10)]
        await engine.upkeep.round()
        assert look(database, statuses) == [("CLOSED", 20)]
    assert {row[0] for row in alerts(database, "close_reason")} == {"cleared"}


async def test_counts_that_meet_a_held_alert_are_written_once_it_is_let_go(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(*[reading(9, at, f"d-{number}") for number in range(3)])
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT FROM fleet_alert WHERE device_id <> 'd-2' FOR UPDATE")
            for second in range(1, 4):
                engine.observer._counted_at = 0
                await engine.stack.send(*[reading(9.5, at + second, f"d-{number}") for number in range(3)])
            engine.observer._counted_at = 0
            await engine.stack.send(reading(10, at + 4, "d-0"), reading(1, at + 5, "d-1"))
            assert alerts(database, "trigger_count")[:2] == [(1,), (1,)]
        await engine.upkeep.round()
        await until(lambda: not engine.observer._triggers)
    columns = "device_id, trigger_count, status, round(extract(epoch FROM last_triggered_at - started_at))::int"
    assert sorted(alerts(database, columns)) == [("d-0", 5, "OPEN", 4), ("d-1", 4, "CLOSED", 3), ("d-2", 4, "OPEN", 3)]
    ends = "SELECT details FROM alert_events WHERE kind = 'closed'"
    assert [set(details) for (details,) in look(database, ends)] == [{"reason", "ts", "value"}]


async def test_a_bulk_close_beside_a_full_stream_holds_up_no_readings(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(*[reading(9, at, f"d-{number}") for number in range(BULK)])
        assert len(alerts(database)) == BULK
        with psycopg.connect(database.conninfo()) as person:
            person.execute(CLOSE)
            for second in range(1, 5):
                with trio.fail_after(LONGEST_WAIT):
                    await engine.stack.send(
                        *[reading(9 + second, at + second, f"d-{number}") for number in range(BULK)]
                    )
            person.commit()
        await engine.stack.send(*[reading(1, at + 6, f"d-{number}") for number in range(BULK)])
        await engine.stack.send(*[reading(9, at + 7, f"d-{number}") for number in range(BULK)])
    by_reason = "SELECT close_reason, count(*) FROM fleet_alert GROUP BY 1 ORDER BY 1"
    assert look(database, by_reason) == [("closed", BULK), (None, BULK)]
