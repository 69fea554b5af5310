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
from tests.support.retention import days, make_days, span, store

DAYS, READINGS = 3, 50


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
