"""kill -9 of whoever deletes a tenant, and two of them at once: the next one ends it, and the counts are right."""

import os
import signal
import subprocess
import sys

import pytest

from appliance.db.roles import INGEST
from appliance.offboarding import deletion
from tests.support.accounting import look as balance
from tests.support.offboarding import fill, rows_of
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.tenants import BY, ingest

LEAVING, STAYING = "acme", "rival"


def start(database: Database, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.offboarding_worker", database.conninfo(INGEST)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )


async def ask(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    async with ingest(database) as connection, connection.transaction():
        await deletion.request(connection, LEAVING, BY, version=None)


def check_end(database: Database, whole: dict[str, list[object]]) -> None:
    """Check that the tenant is gone, each of its rows counted once, and the other one whole."""
    assert rows_of(database, LEAVING) == {}
    assert rows_of(database, STAYING) == whole
    balance(database.conninfo())
    [(expected, deleted, status)] = look(database, "SELECT expected, deleted, status FROM tenant_deletions")
    assert deleted == expected
    assert status == "DONE"


@pytest.mark.parametrize("failpoint", ["before_slice_commit:1", "after_slice_commit:9", "before_slice_commit:25"])
async def test_killed_in_a_slice_the_next_process_goes_on_and_no_row_is_counted_twice(
    database: Database, failpoint: str
) -> None:
    await ask(database)
    whole = rows_of(database, STAYING)
    assert start(database, EDGE_FAILPOINT=failpoint).wait(60) == -signal.SIGKILL
    left = rows_of(database, LEAVING)
    assert "users" in left, "it was killed on the way"
    balance(database.conninfo())
    assert start(database).wait(60) == 0
    assert start(database).wait(60) == 0
    check_end(database, whole)


async def test_two_processes_at_once_delete_each_row_once(database: Database) -> None:
    await ask(database)
    whole = rows_of(database, STAYING)
    both = [start(database), start(database)]
    assert [each.wait(60) for each in both] == [0, 0]
    assert start(database).wait(60) == 0
    check_end(database, whole)
