"""The engine over a real database: readings and alerts in one commit."""

import time
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import trio
import trio.lowlevel

from appliance.alerts.engine import observer
from appliance.ingest.batch import BatchOutcome
from appliance.reading import Refusal
from tests.support.clock import DoubtfulClock
from tests.support.engine import add_rule, alerts, open_engine, timeline
from tests.support.pipeline import Message, arrange, furnish, look, telemetry, until
from tests.support.postgres_server import Database

WARM = {"metric": "t", "operator": "GT", "value": 8}


def reading(value: Any, at: float, device: str = "d-1") -> Message:
    """Return a reading of the metric `t`; ``at`` is in seconds since 1970."""
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
    return telemetry(device, b'{"ts":%d,"t":%s}' % (round(at * 1000), shown.encode()))


async def test_a_reading_and_the_alert_that_it_opens_are_one_commit(database: Database) -> None:
    await furnish(database)
    rule = add_rule(database, WARM)
    at = time.time() - 5
    async with open_engine(database) as engine:
        await engine.stack.send(reading(7, at), reading(9, at + 1), reading(10, at + 2))
        await engine.stack.send(reading(8.5, at + 3))
    columns = "alert_type, status, severity, summary, device_id, rule_id, trigger_count, details"
    found = alerts(database, columns)
    details = {"metric": "t", "operator": "GT", "threshold": 8, "kind": "threshold", "value": 9}
    assert found == [("THRESHOLD", "OPEN", "high", "Too warm", "d-1", rule, found[0][6], details)]
    assert found[0][6] in {2, 3}, "the last one is counted with the next second"
    together = (
        "SELECT count(*) FROM fleet_alert AS a JOIN telemetry AS t ON a.xmin = t.xmin OR a.created_at = t.received_at"
    )
    assert look(database, together)
    started = "SELECT a.started_at = t.ts FROM fleet_alert AS a JOIN telemetry AS t ON (t.metrics ->> 't') = '9'"
    assert look(database, started) == [(True,)]
    assert timeline(database) == ["opened"]


async def test_the_alert_closes_when_the_condition_clears_and_opens_anew(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "clear_value": 6})
    at = time.time() - 20
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        await engine.stack.send(reading(7, at + 1))
        assert alerts(database) == [("d-1", "OPEN", 1)]
        await engine.stack.send(reading(5, at + 2))
        assert alerts(database, "status, close_reason, past") == [("CLOSED", "cleared", False)]
        await engine.stack.send(reading(9, at + 3))
    assert [row[1] for row in alerts(database)] == ["CLOSED", "OPEN"]
    assert timeline(database) == ["opened", "closed", "opened"]
    assert look(database, "SELECT count(*) FROM alert_rule_state") == [(1,)]


async def test_blips_within_one_batch_are_all_recorded(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 7200
    async with open_engine(database, backlog=86_400) as engine:
        await engine.stack.send(*[reading(9 if number % 2 else 1, at + number) for number in range(20)])
    found = alerts(database, "status, past, close_reason, extract(epoch FROM due_at - created_at)::int")
    assert found == [("CLOSED", True, "cleared", 60)] * 9 + [("OPEN", False, None, 60)]


async def test_late_readings_and_duplicates_fire_nothing(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        await engine.stack.send(reading(9, at - 10))
        assert alerts(database) == []
        await engine.stack.send(reading(9, at + 1))
        await engine.stack.send(reading(9, at + 1))
        await trio.lowlevel.checkpoint()
    assert alerts(database) == [("d-1", "OPEN", 1)]


async def test_two_readings_of_the_same_time_count_once(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 2})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at), reading(10, at))
        await engine.stack.send(reading(11, at))
        assert look(database, "SELECT count(*) FROM telemetry") == [(3,)]
        assert alerts(database) == []
        await engine.stack.send(reading(9, at + 1))
    assert alerts(database) == [("d-1", "OPEN", 1)]


async def test_counts_are_written_for_so_many_alerts_with_one_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others come with the batches after it, not a second later: the clock stands."""
    monkeypatch.setattr(observer, "MAX_COUNTED", 3)
    await furnish(database)
    add_rule(database, WARM)
    now = time.time()
    at = now - 50
    devices = [f"d-{number}" for number in range(8)]
    written: list[int] = []
    async with open_engine(database, clock=DoubtfulClock(now, now, trusted=True)) as engine:
        await engine.stack.send(*[reading(9, at, device) for device in devices])
        prepare = engine.observer.prepare

        def recording(outcome: BatchOutcome, now: int) -> Any:
            write = prepare(outcome, now)
            written.append(0 if write is None else len(write._counted))
            return write

        monkeypatch.setattr(engine.observer, "prepare", recording)
        await engine.stack.send(*[reading(10, at + 1, device) for device in devices])
        await until(lambda: alerts(database) == [(device, "OPEN", 2) for device in devices])
    assert max(written) == 3


async def test_a_state_survives_a_restart(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 3})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at), reading(9, at + 1))
    assert look(database, "SELECT count(*) FROM alert_rule_state") == [(1,)]
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at + 2))
        assert alerts(database) == [("d-1", "OPEN", 1)]
        await engine.stack.send(reading(2, at + 3))
    assert look(database, "SELECT count(*) FROM alert_rule_state") == [(0,)]


async def test_devices_out_of_scope_are_left_alone_and_a_move_counts_at_once(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM, scope={"tags": ["cold"]})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        assert alerts(database) == []
        arrange(database, "UPDATE device_registry SET tags = '{cold}', updated_at = now()")
        for number in range(1000):
            await engine.stack.send(reading(9, at + 1 + number / 100))
            if alerts(database):
                break
        assert alerts(database, "device_id, status") == [("d-1", "OPEN")]
        arrange(database, "UPDATE device_registry SET tags = '{}', updated_at = now()")
        assert alerts(database, "status, close_reason") == [("CLOSED", "out_of_scope")]
    assert look(database, "SELECT count(*) FROM alert_rule_state") == [(0,)]


async def test_a_changed_rule_closes_its_alerts_and_starts_anew(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        change = "UPDATE alert_rules SET parameters = parameters || '{\"value\": 20}', updated_at = now()"
        arrange(database, change)
        assert alerts(database, "status, close_reason") == [("CLOSED", "rule_changed")]
        for number in range(1000):
            await engine.stack.send(reading(21, at + 1 + number / 100))
            if len(alerts(database)) > 1:
                break
        await engine.stack.send(reading(19, at + 30))
        assert [row[1] for row in alerts(database)] == ["CLOSED", "CLOSED"]


async def test_readings_do_not_wait_for_an_alert_that_somebody_holds(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT * FROM fleet_alert FOR UPDATE")
            with trio.fail_after(1):
                await engine.stack.send(reading(2, at + 1))
            assert alerts(database) == [("d-1", "OPEN", 1)]
        await engine.upkeep.round()
        assert alerts(database, "status, close_reason") == [("CLOSED", "cleared")]
        await engine.stack.send(reading(9, at + 2))
        assert [row[1] for row in alerts(database)] == ["CLOSED", "OPEN"]


async def test_what_a_batch_without_alerts_brought_is_judged_with_the_next(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        with psycopg.connect(database.conninfo()) as person:
            person.execute("UPDATE alert_rules SET description = 'being edited'")
            await engine.stack.send(reading(9, at + 1))
            assert alerts(database) == []
            person.rollback()
        await engine.stack.send(reading(9.5, at + 2))
        assert alerts(database, "details ->> 'value'") == [("9",)]


async def test_an_alert_knows_how_often_its_message_was_passed_on_and_others_have_nothing_of_it(
    database: Database,
) -> None:
    """So that a notice that comes back as a reading, and opens the next alert, counts on until it is refused."""
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    circling = replace(reading(9, at, "d-2"), user_properties=(("hop-count", "2"),))
    flapping = [replace(reading(value, at + value, "d-3"), user_properties=(("hop-count", "3"),)) for value in (9, 1)]
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        verdicts = await engine.stack.send(
            reading(10, at + 1), circling, *sorted(flapping, key=lambda message: message.payload),
            replace(reading(9, at, "d-4"), user_properties=(("hop-count", "4"),)),
        )  # fmt: skip
    assert isinstance(verdicts[-1], Refusal)
    found = dict(alerts(database, "device_id, details -> 'hop_count'"))
    assert found == {"d-1": None, "d-2": 2, "d-3": 3}


async def test_a_rule_that_raises_is_skipped_and_marked_and_the_others_go_on(
    database: Database, monkeypatch: Any
) -> None:
    await furnish(database)
    add_rule(database, WARM)
    add_rule(database, {"metric": "t", "operator": "GT", "value": 8.5}, name="Other")
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        watch = engine.book.watches["acme", "d-1"]
        broken = next(planned for planned in watch.plan.rules["t"] if planned.rule.name == "Too warm")
        monkeypatch.setattr(broken, "parameters", None)
        await engine.stack.send(reading(9, at + 1))
        await until(lambda: engine.failed)
        await engine.stack.send(reading(9, at + 2))
    assert engine.failed[0][0].rule.name == "Too warm"
    assert alerts(database, "summary, status") == [("Other", "OPEN")]


async def test_a_window_waits_until_it_is_filled_from_telemetry(database: Database) -> None:
    await furnish(database)
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(*[reading(20, at + number) for number in range(10)])
    add_rule(
        database, {"metric": "t", "operator": "GT", "value": 8, "aggregate": "avg", "window_seconds": 60}, kind="window"
    )
    async with open_engine(database) as engine:
        for number in range(1000):
            await engine.stack.send(reading(0, at + 10 + number / 1000))
            if alerts(database):
                break
    assert alerts(database, "alert_type, status") == [("WINDOW", "OPEN")]


async def test_a_person_who_closes_an_alert_is_not_contradicted_until_the_condition_cleared(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    close = (
        "UPDATE fleet_alert SET status = 'CLOSED', closed_at = now() - interval '2 days', closed_by = 'kim',"
        " close_reason = 'closed'"
    )
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at))
        arrange(database, close)
        await engine.stack.send(reading(10, at + 1))
        assert [row[1] for row in alerts(database)] == ["CLOSED"]
        await engine.upkeep.reopen()
        await engine.stack.send(reading(11, at + 2))
    assert [row[1] for row in alerts(database)] == ["CLOSED", "OPEN"], "it was closed longer ago than reopen_after"
