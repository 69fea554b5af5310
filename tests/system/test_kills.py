"""kill -9 of the appliance at any moment: every message is in the table exactly once (P1, P2, P3)."""

import random
import re
import time

import pytest
import trio

from tests.appliance_process import ApplianceProcess
from tests.history.coverage import UNCOVERED
from tests.system.publisher import TENANT, Publisher, books, client, settled, stored

MESSAGES = 20_000
KILLS = 10
STORED = re.compile(rb'^appliance_messages_total\{outcome="stored"\} [1-9]', re.MULTILINE)


def publisher() -> Publisher:
    return Publisher(TENANT, (int(time.time()) - 3600) * 1000)


def check_books(appliance: ApplianceProcess) -> None:
    """One snapshot, from a connection of its own: the books balance and agree with the table."""
    row = appliance.query(
        "SELECT (SELECT count(*) FROM telemetry), sum(stored), sum(received), sum(stored + refused + duplicate)"
        " FROM ingest_ledger"
    )[0]
    rows, in_books, received, explained = (int(value or 0) for value in row)
    assert rows == in_books
    assert received == explained


async def rolled_up_or_marked(appliance: ApplianceProcess) -> None:
    """Marks are a second behind their readings at most; none is missing for good."""
    with trio.fail_after(10):
        while appliance.query(UNCOVERED):
            await trio.sleep(0.1)


def redelivered(appliance: ApplianceProcess) -> int:
    found = re.search(rb"^appliance_redelivered_messages_total (\S+)", appliance.get("/metrics"), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def flowing(appliance: ApplianceProcess) -> None:
    """Wait until the sender has come back after a restart: a kill in a lull proves nothing."""
    with trio.move_on_after(5):  # it has sent all
        while STORED.search(await trio.to_thread.run_sync(appliance.get, "/metrics")) is None:
            await trio.sleep(0.01)


async def test_killed_at_random_moments_under_load_nothing_is_lost_or_doubled(appliance: ApplianceProcess) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    appliance.start()
    sender = publisher()
    seen_again = 0
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, connection, MESSAGES, 100, 0.03)
        for _ in range(KILLS):
            await flowing(appliance)
            await trio.sleep(chance.random() * 0.3)
            appliance.kill()
            await trio.to_thread.run_sync(appliance.start)
            check_books(appliance)
            seen_again += redelivered(appliance)
    await settled(appliance, MESSAGES)
    check_books(appliance)
    found = stored(appliance)
    assert len(found) == len(set(found)) == MESSAGES, f"seed {seed}"
    assert set(found) == sender.books, f"seed {seed}"
    assert seen_again + redelivered(appliance) > 0, "no message was redelivered: the test proved nothing"
    await rolled_up_or_marked(appliance)


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit", "after_first_puback"])
async def test_killed_at_a_failpoint_nothing_is_lost_or_doubled(appliance: ApplianceProcess, failpoint: str) -> None:
    chance = random.Random(failpoint)
    appliance.start()
    appliance.kill()
    sender = publisher()
    total = 0
    committed_unacknowledged = 0
    seen_again = 0
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        running = trio.Event()

        async def stream() -> None:
            nonlocal total
            while not running.is_set():
                await sender.send(connection, 100)
                total += 100
                await trio.sleep(0.02)

        nursery.start_soon(stream)
        for _ in range(KILLS):
            appliance.launch(EDGE_FAILPOINT=f"{failpoint}:{chance.randrange(1, 6)}")
            assert appliance.process is not None
            code = await trio.to_thread.run_sync(appliance.process.wait, 60)
            assert code == -9, appliance.tail()
        appliance.start()
        seen_again = redelivered(appliance)
        running.set()
    await settled(appliance, total)
    committed_unacknowledged = books(appliance)["duplicate"]
    check_books(appliance)
    found = stored(appliance)
    assert len(found) == len(set(found)) == total
    assert set(found) == sender.books
    if failpoint == "before_commit":
        assert seen_again + redelivered(appliance) > 0, "no message was redelivered: the test proved nothing"
    else:
        assert committed_unacknowledged > 0, "no commit went without its PUBACK: the test proved nothing"
