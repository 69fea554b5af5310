"""kill -9 of whoever drops a day, just before and just after its commit: all of the day is there, or nothing."""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from appliance.db.roles import INGEST
from tests.support import fork_server
from tests.support.accounting import look as balance
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.retention import days, make_days, queue_hour, span, store

DAYS, READINGS = 3, 50
ROLLED_UP = "SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM telemetry_hourly"
STEPS = 10
"""A checkpoint, the day closed and rolled up, before and after the commit of its drop; two days go."""


def make_room(database: Database, step: int) -> int:
    """Run a process that lets two days go for room, killed at its ``step``; return how it ended."""
    arguments = [database.conninfo(INGEST), str(step)]
    return fork_server.programs().run("tests.faults.budget_worker", arguments, env=os.environ, seconds=120).returncode


def work(database: Database, **environment: str) -> int:
    """Run a process that makes one round with a retention of a day; return how it ended."""
    arguments, env = [database.conninfo(INGEST), "0", "1"], {**os.environ, **environment}
    return fork_server.programs().run("tests.faults.retention_worker", arguments, env=env, seconds=120).returncode


def told(database: Database) -> tuple[int, int]:
    """Return what the ledger and the audit say: readings dropped, days dropped."""
    [(readings, dropped)] = look(
        database,
        "SELECT (SELECT coalesce(sum(partition_dropped), 0)::int FROM ingest_ledger),"
        " (SELECT count(*) FROM audit_log WHERE action = 'telemetry.drop')",
    )
    return readings, dropped


@pytest.mark.parametrize(("failpoint", "gone"), [("before_drop_commit", 1), ("after_drop_commit", 2)])
async def test_killed_at_its_commit_a_day_is_all_there_or_all_gone(
    database: Database, failpoint: str, gone: int
) -> None:
    first = datetime.now(UTC).date() - timedelta(days=10)
    await make_days(database, first, first + timedelta(days=DAYS - 1))
    for day in span(first, DAYS):
        store(database, day, READINGS)
    assert work(database, EDGE_FAILPOINT=f"{failpoint}:2") == -signal.SIGKILL
    assert len(days(database)) == DAYS - gone
    assert told(database) == (gone * READINGS, gone)
    balance(database.conninfo())
    assert work(database) == 0
    assert days(database) == []
    assert told(database) == (DAYS * READINGS, DAYS)
    balance(database.conninfo())


async def test_killed_at_any_step_of_making_room_a_day_is_all_there_or_rolled_up_and_all_gone(
    database: Database,
) -> None:
    first = datetime.now(UTC).date() - timedelta(days=20)
    await make_days(database, first, first + timedelta(days=18))
    for day in span(first, 19):
        store(database, day, READINGS)
        queue_hour(database, day, 12)
    gone, step = 0, 0
    for step in range(1, 100):
        ended = make_room(database, step)
        readings, dropped = told(database)
        assert readings == dropped * READINGS
        assert days(database) == span(first + timedelta(days=dropped), 19 - dropped)
        rolled = {day for (day,) in look(database, ROLLED_UP)}
        assert rolled.issuperset(span(first, dropped))
        balance(database.conninfo())
        if ended == 0:
            assert dropped == gone + 2
            break
        assert ended == -signal.SIGKILL
        gone = dropped
    assert step == STEPS + 1
    assert look(database, "SELECT count(*) FROM audit_log WHERE after ? 'hours_not_rolled_up'") == [(0,)]
