"""kill -9 of the broker, and of everything at once, under load.

What the broker had acknowledged to a device and not yet handed to us can be lost then: that window is the broker's, and
it is counted here. What was committed stays, once, and the ledger agrees.
"""

import os
import random
import signal
import time
from pathlib import Path

import trio

from tests.support import soak
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.publisher import TENANT, Publisher, client, stored

BROKER_KILLS = 3
"""Also in a long run: a child that dies five times in a minute ends the appliance, and rightly."""
KILLS_OF_ALL = soak.times(2)
GROUP, PAUSE_SECONDS = 20, 0.01
"""2000 messages a second."""
FLOW_SECONDS = 8.0
"""Until messages flow again after a death: 5 s at most until we are connected, and the devices' own delays."""
LOST_TO_A_KILL = 10
"""Messages that a broker may have acknowledged and not handed over when it is killed: one turn of its loop."""
LOST_WITH_ALL = 200
"""And in flight beside them when all are killed at once: a tenth of a second, if nobody else takes the CPU."""


def programs(appliance: ApplianceProcess) -> dict[str, int]:
    """Pids of the children by name, their own children left out."""
    assert appliance.process is not None
    found = {}
    for pid in appliance.children():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        if int(fields[2].split()[1]) == appliance.process.pid:
            found[fields[0].partition("(")[2]] = pid
    return found


def sender() -> Publisher:
    return Publisher(TENANT, (int(time.time()) - 3600) * 1000)


async def publish_until(publisher: Publisher, appliance: ApplianceProcess, over: trio.Event) -> None:
    """Send all the time, in groups; the last one is acknowledged by the broker when it returns."""
    async with client(appliance, "sender") as connection:
        while not over.is_set():
            await publisher.send(connection, GROUP)
            await trio.sleep(PAUSE_SECONDS)


async def flowing(appliance: ApplianceProcess) -> None:
    """Return once messages are being stored: everybody is there again."""
    before = now = len(stored(appliance))
    with trio.fail_after(within(FLOW_SECONDS)):
        while now - before < 10 * GROUP:
            await trio.sleep(0.02)
            now = len(await trio.to_thread.run_sync(stored, appliance))


async def caught_up(appliance: ApplianceProcess, publisher: Publisher) -> int:
    """Wait until what is under way has arrived, one way or the other; how many never did."""
    marker = Publisher(TENANT, int(time.time() * 1000), devices=1)
    async with client(appliance, "marker") as connection:
        await marker.send(connection, 1)
    with trio.fail_after(60):
        while not marker.sent <= set(await trio.to_thread.run_sync(stored, appliance)):
            await trio.sleep(0.05)
    found = stored(appliance)
    assert len(found) == len(set(found)), "stored twice"
    assert set(found) <= publisher.sent | marker.sent, "made up"
    return len(publisher.sent - set(found))


async def test_a_killed_broker_loses_no_more_than_a_turn_of_its_loop(appliance: ApplianceProcess) -> None:
    appliance.start()
    publisher, over = sender(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish_until, publisher, appliance, over)
        for _ in range(BROKER_KILLS):
            await flowing(appliance)
            os.kill(programs(appliance)["mosquitto"], signal.SIGKILL)
        over.set()
    lost = await caught_up(appliance, publisher)
    assert lost <= within(BROKER_KILLS * LOST_TO_A_KILL)
    look(appliance.conninfo())
    log = appliance.log.read_text()
    assert "Traceback" not in log


async def test_everything_killed_at_once_keeps_what_was_committed(appliance: ApplianceProcess) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    appliance.start()
    publisher, over = sender(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish_until, publisher, appliance, over)
        for _ in range(KILLS_OF_ALL):
            await flowing(appliance)
            await trio.sleep(chance.random() * 0.2)
            committed = set(stored(appliance))
            victims = appliance.children()
            appliance.kill()
            for pid in victims:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
            await trio.to_thread.run_sync(appliance.start)
            look(appliance.conninfo())
            assert committed <= set(stored(appliance)), f"seed {seed}"
        over.set()
    lost = await caught_up(appliance, publisher)
    assert lost <= within(KILLS_OF_ALL * LOST_WITH_ALL), f"seed {seed}"
    look(appliance.conninfo())
    assert "Traceback" not in appliance.log.read_text()
