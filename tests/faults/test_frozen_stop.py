"""SIGTERM while Postgres is frozen: the appliance ends in time all the same, and nothing is lost (R21)."""

import os
import signal
import time
from contextlib import suppress

import trio

from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.http_caller import Caller
from tests.support.processes import freeze
from tests.support.publisher import TENANT, client, settled

STOP_SECONDS = 10.0
FROZEN_SECONDS = 1.0
"""Long enough for those who ask the database every second to wait for an answer."""
TOPIC = f"tenant/{TENANT}/device/d/telemetry"


async def post(appliance: ApplianceProcess, payload: bytes) -> None:
    """Somebody who waits for an answer over HTTP: it may be 503 or none, but never that the message was taken."""
    request = Caller(appliance, appliance.tenant(TENANT)["password"]).request(f"/ingest/{TOPIC}", payload)
    port = int(appliance.run["web_url"].rpartition(":")[2])
    received = b""
    with suppress(trio.BrokenResourceError):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request)
            async for chunk in stream:
                received += chunk
    assert not received or received.startswith(b"HTTP/1.1 503 "), received


async def test_with_postgres_frozen_it_stops_in_time_and_loses_nothing(appliance: ApplianceProcess) -> None:
    appliance.start()
    async with client(appliance, "sender") as connection:
        await connection.publish(TOPIC, b'{"seq":0}')
        await settled(appliance, 1)
        frozen = freeze(int((appliance.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, appliance, b'{"not promised":1}')
            for number in range(1, 50):
                await connection.publish(TOPIC, b'{"ts":%d,"seq":%d}' % (time.time_ns() // 1_000_000, number))
            await trio.sleep(FROZEN_SECONDS)
            began = time.monotonic()
            code = await trio.to_thread.run_sync(appliance.stop, signal.SIGTERM, 10 * STOP_SECONDS)
            took = time.monotonic() - began
        for pid in frozen:  # those that outlived their postmaster
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert (code, took < within(STOP_SECONDS)) == (0, True), f"{took} s\n{appliance.tail()}"
        await trio.to_thread.run_sync(appliance.start)
        with trio.fail_after(60):
            while {n for (n,) in appliance.query("SELECT seq FROM telemetry") if n is not None} != {*range(50)}:
                await trio.sleep(0.05)
    assert "Traceback" not in appliance.log.read_text()
