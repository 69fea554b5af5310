"""P18: whatever fails, and wherever, a renewal leaves nothing, or all of it and its answer for who asks again."""

import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import trio
from msgspec import structs

from appliance.db.trio_psycopg import Connection, connect
from appliance.renewals.renewal import Renewed, renew
from tests.renewals.family import DAY, ENDS, FEWER, POLICY, check_family, end_of, found
from tests.support.commit_thief import Theft, commit_thief
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.stepping import Before, SteppedConnection, stepped
from tests.support.tenants import BY, INGEST, TENANT, ingest

TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""
WATCHED = {"subscriptions", "subscription_terms", "renewal_requests", "device_credentials", "audit_log"}
PATIENCE_SECONDS = 20.0

Fault = Callable[[SteppedConnection], Awaitable[object]]


def everything(database: Database) -> dict[str, list[str]]:
    """Return all rows of the tenant, of all tables that have such."""
    with psycopg.connect(database.conninfo()) as connection:
        tables = [row[0] for row in connection.execute(TABLES.encode()).fetchall()]
        assert set(tables) >= WATCHED
        each = [f"SELECT '{name}', t::text FROM {name} AS t WHERE tenant_id = '{TENANT}'" for name in tables]
        rows = connection.execute(" UNION ALL ".join(each).encode()).fetchall()
    return {name: sorted(row for table, row in rows if table == name) for name in tables}


def start(database: Database) -> dict[str, list[str]]:
    """Add the tenant; return all that there is of it."""
    with psycopg.connect(database.conninfo()) as connection:
        found(connection, TENANT)
    return everything(database)


async def asked(connection: Connection[Any], key: str | None = "key") -> Renewed:
    """Ask for the renewal with a downsizing."""
    return await renew(connection, TENANT, FEWER, BY, key=key, policy=POLICY, trusted=True)


def check_done(database: Database, outcome: Renewed) -> None:
    """Check that the renewal of which it tells is there, once."""
    assert outcome.answer.new_term_end == ENDS + 365 * DAY
    assert outcome.answer.devices_deactivated == ["a2", "a4"]
    with psycopg.connect(database.conninfo()) as connection:
        check_family(connection, TENANT, [structs.replace(outcome.answer, changed=True)])
        assert end_of(connection, TENANT) == outcome.answer.new_term_end


async def refuse(connection: SteppedConnection) -> None:
    """Have Postgres fail a statement, and with it the transaction."""
    await Connection.execute(connection, "SELECT 1 / 0")


async def end_session(connection: SteppedConnection) -> None:
    """Have Postgres end the session."""
    await Connection.execute(connection, "SELECT pg_terminate_backend(pg_backend_pid())")


async def give_up(_: SteppedConnection) -> None:
    """Have whoever asked go away."""
    raise trio.TooSlowError


def failing(connection: SteppedConnection, fault: Fault, at: int) -> Before:
    """Return what lets statement ``at`` fail."""

    async def before(number: int) -> None:
        if number == at:
            await fault(connection)

    return before


@pytest.mark.parametrize("fault", [refuse, end_session, give_up])
async def test_a_fault_at_any_statement_leaves_nothing(database: Database, fault: Fault) -> None:
    before, number = start(database), 0
    outcome: object = None
    while outcome is None:
        number += 1
        async with await stepped(database, INGEST) as connection:
            try:
                outcome = await connection.perform(asked, failing(connection, fault, at=number))
            except (psycopg.Error, trio.TooSlowError):
                assert everything(database) == before, f"statement {number} failed, and something stayed"
    assert number > 12, "the statements of a renewal were not failed"
    assert isinstance(outcome, Renewed)
    check_done(database, outcome)
    after = everything(database)
    assert all(after[table] != before[table] for table in WATCHED), "what is compared shows a renewal"
    async with ingest(database) as plain:
        assert await asked(plain) == replace(outcome, replayed=True)
    assert everything(database) == after


@pytest.mark.parametrize("key", ["key", None])
@pytest.mark.parametrize("theft", list(Theft))
async def test_a_lost_commit_or_a_lost_answer_is_made_up_for_by_asking_again(
    database: Database, theft: Theft, key: str | None
) -> None:
    before = start(database)
    async with commit_thief(database) as thief:
        thief.plan = theft
        with pytest.raises(psycopg.OperationalError):
            async with await connect(thief.conninfo(database, INGEST)) as connection, connection.transaction():
                await asked(connection, key)
        assert thief.stolen == 1
        if theft is Theft.QUESTION:
            assert everything(database) == before
        async with ingest(database) as connection:
            outcome = await asked(connection, key)  # waits, while the server still works on the other
    committed = theft is Theft.ANSWER
    assert (outcome.replayed, outcome.answer.changed) == (
        committed and key is not None,
        not committed or key is not None,
    )
    check_done(database, outcome)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_before_or_after_the_commit_it_is_nothing_or_all(database: Database, moment: str) -> None:
    before = start(database)
    command = [sys.executable, "-m", "tests.renewals.dying", database.conninfo(INGEST), TENANT, "key", moment]
    with trio.fail_after(PATIENCE_SECONDS):
        ended = await trio.run_process(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (everything(database) == before) == (moment == "before")
    async with ingest(database) as connection:
        outcome = await asked(connection)
    assert (outcome.replayed, outcome.answer.changed) == (moment == "after", True)
    check_done(database, outcome)
