"""Little memory: what waits is bounded, so that the largest messages in any number take a known room and no more."""

import time
from pathlib import Path

import psycopg
import trio

from tests.support import soak
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client

DATA_BYTES = 320 * 1024 * 1024
"""What each process may have of memory of its own (RLIMIT_DATA)."""
MESSAGES = soak.times(1500)
HELD_SECONDS = 2.0
PAYLOAD_BYTES = 15_000
"""Nearly the largest that is stored: all that may wait at once are 60 MB of them."""


async def test_with_little_memory_the_largest_messages_are_stored_while_the_database_hangs_and_after(
    appliance: ApplianceProcess,
) -> None:
    appliance.prefix = ("prlimit", f"--data={DATA_BYTES}")
    await trio.to_thread.run_sync(appliance.start)
    await trio.to_thread.run_sync(appliance.tenant)
    base, filler = (int(time.time()) - 3600) * 1000, b" " * PAYLOAD_BYTES
    messages = [
        (
            f"tenant/{TENANT}/device/d{number % 10}/telemetry",
            b'{"ts":%d,"seq":%d,"temperature":1%b}' % (base + number, number, filler),
        )
        for number in range(MESSAGES)
    ]
    async with client(appliance, "sender") as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.publish_many, messages)
        await trio.to_thread.run_sync(_hold_telemetry, appliance)
    with trio.fail_after(120):
        while await trio.to_thread.run_sync(appliance.query, "SELECT count(*) FROM telemetry") != [(MESSAGES,)]:
            await trio.sleep(0.05)
    look(appliance.conninfo())
    assert appliance.process is not None
    assert "MemoryError" not in appliance.log.read_text()
    peak = Path(f"/proc/{appliance.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) * 1024 < DATA_BYTES


def _hold_telemetry(appliance: ApplianceProcess) -> None:
    """Keep everybody else out of the table of readings for HELD_SECONDS."""
    with psycopg.connect(appliance.conninfo("appliance_owner")) as connection:
        connection.execute("LOCK TABLE telemetry IN ACCESS EXCLUSIVE MODE")
        time.sleep(HELD_SECONDS)
