"""Tries that fail, peers, and what is kept through them."""

import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
import trio

from appliance.alerts.engine import observer as observer_module
from appliance.alerts.engine.judge import judge
from appliance.alerts.engine.observer import RuleObserver
from appliance.db.roles import INGEST
from tests.alerts.engine.test_observer import WARM, reading
from tests.support import soak
from tests.support.commit_thief import Theft, commit_thief
from tests.support.engine import add_rule, alerts, open_engine
from tests.support.pipeline import arrange, furnish, look, telemetry, until
from tests.support.postgres_server import Database

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
POISON = "ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (metrics->>'poison' IS NULL)"


def started(database: Database) -> list[tuple[str, float]]:
    """Return device and time of what opened, in order."""
    statement = "SELECT device_id, extract(epoch FROM started_at)::float8 FROM fleet_alert ORDER BY started_at, id"
    return [(row[0], round(row[1], 3)) for row in look(database, statement)]


async def test_a_poisoned_batch_opens_what_its_good_readings_call_for(database: Database) -> None:
    await furnish(database)
    arrange(database, POISON)
    add_rule(database, {**WARM, "for_count": 2})
    at = time.time() - 50
    async with open_engine(database) as engine:
        poisoned = telemetry("d-1", b'{"ts":%d,"t":9,"poison":1}' % round(1000 * (at + 1)))
        await engine.stack.send(reading(9, at), poisoned, reading(9, at + 2), reading(9, at + 3))
    assert started(database) == [("d-1", round(at + 2, 3))]
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(1,)]


async def test_a_batch_with_a_duplicate_opens_what_its_new_readings_call_for(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 3})
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(9, at), reading(9, at + 1))
        await engine.stack.send(reading(9, at + 1), reading(9, at + 2))
    assert [row[:2] for row in alerts(database)] == [("d-1", "OPEN")]
    assert look(database, "SELECT extract(epoch FROM started_at) > %s FROM fleet_alert", at + 1.5) == [(True,)]


async def test_a_window_forgets_what_it_took_in_a_try_that_fails(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "aggregate": "avg", "window_seconds": 600}, kind="window")
    at, observers, failed = time.time() - 50, list[RuleObserver](), 0

    def failpoint(name: str) -> None:
        nonlocal failed
        tried = observers[0]._tried if observers else None
        if name == "before_commit" and tried is not None and tried.taken and failed < 2:
            failed += 1
            raise psycopg.OperationalError("the connection went away")

    async with open_engine(database, failpoint=failpoint) as engine:
        await engine.stack.send(reading(7, at))
        await until(lambda: engine.observer._memories._filled)
        await engine.stack.send(reading(8, at + 1))
        (track,) = engine.book.watches["acme", "d-1"].tracks
        observers.append(engine.observer)
        await engine.stack.send(reading(10, at + 2))
        assert failed == 2
        assert track.memory.take(0, 0) == 25 / 3
    assert alerts(database, "status, trigger_count") == [("OPEN", 1)]


@pytest.mark.parametrize("theft", list(Theft))
async def test_an_alert_is_there_once_when_the_answer_to_the_commit_is_lost(database: Database, theft: Theft) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 2})
    at = time.time() - 50
    async with (
        commit_thief(database) as thief,
        open_engine(database, conninfo=thief.conninfo(database, INGEST)) as engine,
    ):
        await engine.stack.send(reading(9, at))
        thief.plan = theft
        await engine.stack.send(reading(9, at + 1))
        assert thief.stolen == 1
        await engine.stack.send(reading(1, at + 2))
        await engine.stack.send(reading(9, at + 3), reading(9, at + 4))
    assert [row[1] for row in alerts(database)] == ["CLOSED", "OPEN"]


async def test_a_reading_older_than_what_a_peer_has_judged_is_not_judged(database: Database) -> None:
    """It is not late for the appliance that takes it, which has not heard of the newer one."""
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 3})
    at = time.time() - 50
    async with (
        open_engine(database, instance="one", shared=True) as one,
        open_engine(database, instance="two", shared=True) as two,
    ):
        await one.stack.send(reading(9, at))
        await two.stack.send(reading(9, at + 10))
        await one.stack.send(reading(9, at + 5))
        assert look(database, "SELECT count(*) FROM telemetry WHERE NOT late") == [(3,)]
        assert started(database) == []
        await one.stack.send(reading(9, at + 11))
    assert started(database) == [("d-1", round(at + 11, 3))]


async def test_readings_by_turns_to_two_appliances_open_the_same_as_to_one(database: Database) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 3, "clear_value": 6, "clear_for_seconds": 1})
    chance = random.Random(7)
    at = time.time() - 3000
    values = [chance.choice([2, 5, 5, 7, 9, 10, 11, 12]) for _ in range(soak.times(120))]
    async with AsyncExitStack() as stack:
        opening = [open_engine(database, instance=name, shared=True) for name in ("one", "two")]
        both = [await stack.enter_async_context(one) for one in opening]
        for number, value in enumerate(values):
            await chance.choice(both).stack.send(reading(value, at + number, "by-turns"))
    async with open_engine(database, instance="three") as engine:
        for number, value in enumerate(values):
            await engine.stack.send(reading(value, at + number, "to-one"))
    opened = started(database)
    assert [ts for device, ts in opened if device == "by-turns"] == [ts for device, ts in opened if device == "to-one"]
    assert len(opened) > 4
    still = {row[0]: row[1] for row in look(database, "SELECT device_id, state FROM alert_rule_state")}
    assert still.get("by-turns") == still.get("to-one")


FIRST, SECOND = ("OPEN", 2, 9), ("OPEN", 1, 9.5)


async def test_the_same_alert_in_two_appliances_at_once_is_one_row_and_counted_twice(database: Database) -> None:
    await furnish(database)
    add_rule(database, WARM)
    at = time.time() - 50
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(open_engine(database, instance=name)) for name in ("one", "two")]
        for number, engine in enumerate(both):
            await engine.stack.send(reading(1, at + number))
        with psycopg.connect(database.conninfo()) as holding:
            holding.execute("LOCK TABLE ingest_ledger IN ACCESS EXCLUSIVE MODE")
            async with trio.open_nursery() as nursery:
                for number, value in ((0, b"9"), (1, b"9.5")):
                    message = telemetry("d-1", b'{"ts":%d,"t":%s}' % (round(1000 * (at + 2 + number)), value))
                    nursery.start_soon(both[number].stack.send, message)
                    with trio.fail_after(10):
                        while holding.execute(WAITING).fetchone() != (number + 1,):
                            await trio.sleep(0.01)
                holding.rollback()
        # A reading that is not newer than what the other one has judged counts for nothing.
        await until(lambda: alerts(database, "status, trigger_count, details -> 'value'") in ([FIRST], [SECOND]))


async def test_readings_are_judged_while_they_are_stored_and_anew_if_something_changed_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(database)
    add_rule(database, {**WARM, "for_count": 2})
    at, order, load, meanwhile = time.time() - 50, list[str](), RuleObserver.load, list[Callable[[], None]]()

    def noted_judge(*arguments: Any) -> None:
        order.append("judge")
        judge(*arguments)
        while meanwhile:
            meanwhile.pop()()

    async def noted_load(self: RuleObserver, *arguments: Any) -> None:
        order.append("load")
        await load(self, *arguments)

    monkeypatch.setattr(observer_module, "judge", noted_judge)
    monkeypatch.setattr(RuleObserver, "load", noted_load)
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        order.clear()
        await engine.stack.send(reading(9, at + 1))
        assert order == ["judge", "load"]
        meanwhile.append(engine.book.devices_missed)
        await engine.stack.send(reading(9, at + 2))
        assert order == ["judge", "load", "judge", "load", "judge"]
    assert started(database) == [("d-1", round(at + 2, 3))]
    assert alerts(database, "status, trigger_count") == [("OPEN", 1)]
