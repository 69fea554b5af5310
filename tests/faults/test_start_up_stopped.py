"""SIGTERM while the appliance starts, at any moment of it, the very first start included: it ends at once and clean."""

import random
import signal
import time

import trio

from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.publisher import client

STOPS = 4
LONGEST_START = 1.5
STOP_SECONDS = 10.0


async def test_asked_to_stop_while_it_starts_it_ends_cleanly(appliance: ApplianceProcess) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    appliance.from_scratch = True
    for number in range(STOPS):
        appliance.launch()
        # Spread over the start: making the cluster, the schema, the broker, opening the device listener.
        await trio.sleep(LONGEST_START * (number + chance.random()) / STOPS)
        began = time.monotonic()
        code = await trio.to_thread.run_sync(appliance.stop, signal.SIGTERM, 10 * STOP_SECONDS)
        assert code in {0, -signal.SIGTERM}, f"seed {seed}\n{appliance.tail()}"  # killed by it before anybody listens
        assert time.monotonic() - began < within(STOP_SECONDS)
        assert appliance.children() == [], f"seed {seed}"
        assert appliance.run_file() is None, f"seed {seed}"
    assert "Traceback" not in appliance.log.read_text()
    appliance.start()
    async with client(appliance, "sender") as connection:
        await connection.publish("tenant/fleet/device/d/telemetry", b'{"a":1}')
    with trio.fail_after(60):
        while not await trio.to_thread.run_sync(appliance.query, "SELECT 1 FROM telemetry"):
            await trio.sleep(0.05)
