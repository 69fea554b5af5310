"""kill -9 of the appliance at any moment: every message is in the table exactly once (P1, P2, P3)."""

import random
import re
import time
from contextlib import closing

import psycopg
import pytest
import trio

from appliance.db.roles import OWNER
from appliance.mqtt.client import Client
from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, Publisher, client, ledger_sums, settled, stored
from tests.support.rollups import UNCOVERED

MESSAGES = soak.times(8000)
KILLS = soak.times(4)
"""At random moments; every other one with a batch in flight."""
FAILPOINT_KILLS = soak.times(3)
STORED = re.compile(rb'^appliance_messages_total\{outcome="stored"\} [1-9]', re.MULTILINE)
KEPT_OUT = "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted AND mode = 'RowExclusiveLock'"


def publisher() -> Publisher:
    return Publisher(TENANT, (int(time.time()) - 3600) * 1000)


async def stream(sender: Publisher, through: Client, enough: trio.Event, at_least: int = 0) -> None:
    """Send without an end until it is enough."""
    while not (enough.is_set() and len(sender.sent) >= at_least):
        await sender.send(through, 100)
        await trio.sleep(0.02)


def check_accounting(appliance: ApplianceProcess) -> None:
    """One snapshot, from a connection of its own: the sums balance and agree with the table."""
    row = appliance.query(
        "SELECT (SELECT count(*) FROM telemetry), sum(stored), sum(received),"
        " sum(stored + refused + duplicate + cleared) FROM ingest_ledger"
    )[0]
    rows, in_ledger, received, explained = (int(value or 0) for value in row)
    assert rows == in_ledger
    assert received == explained


async def rolled_up_or_queued(appliance: ApplianceProcess) -> None:
    """The roll-up queue is a second behind the readings at most; no hour is missing for good."""
    with trio.fail_after(60):
        while appliance.query(UNCOVERED):
            await trio.sleep(0.1)


def redelivered(appliance: ApplianceProcess) -> int:
    found = re.search(rb"^appliance_redelivered_messages_total (\S+)", appliance.get("/metrics"), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def flowing(appliance: ApplianceProcess) -> None:
    """Wait until the sender has come back after a restart: a kill in a lull proves nothing."""
    with trio.fail_after(60):
        while STORED.search(await trio.to_thread.run_sync(appliance.get, "/metrics")) is None:
            await trio.sleep(0.01)


async def kill_with_a_batch_in_flight(appliance: ApplianceProcess) -> None:
    """Keep a batch from the table, and kill: its messages were neither committed nor acknowledged."""
    with closing(psycopg.connect(appliance.conninfo(OWNER))) as connection:
        connection.execute("LOCK TABLE telemetry IN SHARE MODE")
        with trio.fail_after(60):
            while not connection.execute(KEPT_OUT).fetchall():
                await trio.sleep(0.01)
        appliance.kill()


async def test_killed_at_random_moments_under_load_nothing_is_lost_or_doubled(appliance: ApplianceProcess) -> None:
    """Every other kill is at a moment when messages are certain to be in flight: those must come again."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    appliance.start()
    sender = publisher()
    enough = trio.Event()
    in_flight = False
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sender, connection, enough, MESSAGES)
        for number in range(KILLS):
            await flowing(appliance)
            assert not in_flight or redelivered(appliance) > 0
            await trio.sleep(chance.random() * 0.3)
            in_flight = number % 2 == 1
            if in_flight:
                await kill_with_a_batch_in_flight(appliance)
            else:
                appliance.kill()
            await trio.to_thread.run_sync(appliance.start)
            check_accounting(appliance)
        enough.set()
    await settled(appliance, len(sender.sent))
    check_accounting(appliance)
    found = stored(appliance)
    assert len(found) == len(set(found)) >= MESSAGES, f"seed {seed}"
    assert set(found) == sender.sent, f"seed {seed}"
    assert in_flight, "the last kill must be one with a batch in flight"
    assert redelivered(appliance) > 0
    await rolled_up_or_queued(appliance)


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit", "after_first_puback"])
async def test_killed_at_a_failpoint_nothing_is_lost_or_doubled(appliance: ApplianceProcess, failpoint: str) -> None:
    chance = random.Random(failpoint)
    appliance.start()
    appliance.tenant(TENANT)
    appliance.kill()
    sender = publisher()
    enough = trio.Event()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sender, connection, enough)
        for _ in range(FAILPOINT_KILLS):
            appliance.launch(EDGE_FAILPOINT=f"{failpoint}:{chance.randrange(1, 6)}")
            assert appliance.process is not None
            code = await trio.to_thread.run_sync(appliance.process.wait, 60)
            assert code == -9, appliance.tail()
        appliance.start()
        enough.set()
    await settled(appliance, len(sender.sent))
    check_accounting(appliance)
    found = stored(appliance)
    assert len(found) == len(set(found))
    assert set(found) == sender.sent
    if failpoint == "before_commit":
        assert redelivered(appliance) > 0, "no message was redelivered: the test proved nothing"
    else:
        assert ledger_sums(appliance)["duplicate"] > 0, "no commit went without its PUBACK: the test proved nothing"
