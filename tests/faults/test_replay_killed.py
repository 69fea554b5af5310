"""kill -9 of whoever replays, in the middle of it, ten times: each held message becomes a reading, once.

The process is one that only replays, so that it starts ten times in as many seconds; it is started by the same code.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import trio

from appliance.db.roles import INGEST
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replays import ReplayStatus
from appliance.ingest.quarantine.store import Selection
from tests.support import fork_server, soak
from tests.support.accounting import look as check
from tests.support.pipeline import TENANT, furnish, ledger_sums, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.tenants import BY, ingest

MESSAGES, DEVICES = soak.times(3200), 40
KILLS = soak.times(4)
PATIENCE_SECONDS = 60.0


async def hold(database: Database) -> None:
    """Messages of devices for which there is no seat; every tenth carries no time of its own."""
    await furnish(database, seats=1)
    base = int(time.time() * 1000) - 3_600_000
    async with open_ingest(database) as stack:
        await stack.send(telemetry("seated", b"{}"))
        for first in range(0, MESSAGES, 400):
            await stack.send(
                *(
                    telemetry(
                        f"d{n % DEVICES}", b'{"seq":%d}' % n if n % 10 == 0 else b'{"ts":%d,"seq":%d}' % (base + n, n)
                    )
                    for n in range(first, first + 400)
                )
            )
    assert look(database, "SELECT count(*) FROM quarantine_events WHERE status = 'HELD'") == [(MESSAGES,)]


async def ask(database: Database) -> None:
    """Raise the limit, and have all of it replayed."""
    look(database, "UPDATE subscriptions SET device_limit = %s RETURNING 1", DEVICES + 1)
    async with ingest(database) as connection:
        await replays.request_replay(connection, Selection(tenant_id=TENANT), BY)


def progress(database: Database) -> tuple[int, bool]:
    """Return how many are replayed, and whether the job has ended."""
    [(replayed, ended)] = look(database, "SELECT replayed, ended_at IS NOT NULL FROM quarantine_replays")
    return replayed, ended


@contextmanager
def worker(database: Database) -> Iterator[None]:
    """Run a worker process, killed at the end of the block."""
    process = fork_server.programs().start_silent(
        "tests.faults.replay_worker", [database.conninfo(INGEST)], env=os.environ
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def further(database: Database, done: int) -> None:
    """Return once more than ``done`` are replayed, or all."""
    statement = "SELECT replayed > %s OR ended_at IS NOT NULL FROM quarantine_replays"
    with trio.fail_after(PATIENCE_SECONDS), psycopg.connect(database.conninfo(), autocommit=True) as connection:
        while connection.execute(statement, [done]).fetchone() != (True,):
            await trio.sleep(0.005)


async def test_killed_again_and_again_a_replay_stores_each_message_once(database: Database) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    await hold(database)
    await ask(database)
    done = 0
    for _ in range(KILLS):
        with worker(database):
            await further(database, done)
            await trio.sleep(chance.random() * 0.02)
        check(database.conninfo())
        done, ended = progress(database)
        assert not ended, f"seed {seed}: too few messages for so many kills"
    with worker(database), trio.fail_after(PATIENCE_SECONDS):
        while not progress(database)[1]:
            await trio.sleep(0.02)
    [(status, replayed, refused, gone)] = look(
        database, "SELECT status, replayed, refused::text, gone FROM quarantine_replays"
    )
    assert (ReplayStatus(status), replayed, refused, gone) == (ReplayStatus.DONE, MESSAGES, "{}", 0), f"seed {seed}"
    rows = look(database, "SELECT seq FROM telemetry WHERE device_id <> 'seated' ORDER BY seq")
    assert rows == [(number,) for number in range(MESSAGES)], f"seed {seed}"
    assert look(database, "SELECT DISTINCT status FROM quarantine_events") == [("REPLAYED",)]
    assert ledger_sums(database)["replayed"] == MESSAGES
