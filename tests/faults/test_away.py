"""Postgres away, frozen in the middle of everything: held, resumed, nothing lost, and nobody punished for it (P11)."""

import os
import signal
import time

import trio

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.processes import cpu_seconds, freeze
from tests.support.publisher import client, settled

DEVICES = 10
RATE = 4
BURST = 6
AWAY = 4
"""Seconds; in them each device sends RATE messages a second, as it may, and many times its burst arrives at once
afterwards."""


async def send_at_their_rate(connection: Client, seconds: int, first: int) -> int:
    """Every device sends RATE messages a second; how many they were."""
    base = int(time.time() * 1000)
    for step in range(seconds * RATE):
        messages = [
            (
                f"tenant/fleet/device/d{device}/telemetry",
                b'{"ts":%d,"seq":%d,"a":1}' % (base + step, first + step * DEVICES + device),
            )
            for device in range(DEVICES)
        ]
        await connection.publish_many(messages)
        await trio.sleep(1 / RATE)
    return seconds * RATE * DEVICES


async def test_frozen_postgres_loses_nothing_refuses_nobody_and_costs_no_cpu(appliance: ApplianceProcess) -> None:
    appliance.settings |= {"APPLIANCE_LIMITS_RATE": str(RATE), "APPLIANCE_LIMITS_BURST": str(BURST)}
    appliance.start()
    assert appliance.process is not None
    async with client(appliance, "fleet") as connection:
        sent = await send_at_their_rate(connection, 1, 0)
        await settled(appliance, sent)
        postmaster = int((appliance.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        frozen = freeze(postmaster)
        try:
            before = cpu_seconds(appliance.process.pid)
            sent += await send_at_their_rate(connection, AWAY, sent)
            used = cpu_seconds(appliance.process.pid) - before
            with trio.fail_after(60):
                while b'"ready"' in await trio.to_thread.run_sync(appliance.get, "/readyz"):
                    await trio.sleep(0.05)
        finally:
            for pid in reversed(frozen):
                os.kill(pid, signal.SIGCONT)
    assert used < AWAY / 4, f"{used} s of CPU in {AWAY} s of waiting"
    await settled(appliance, sent)
    refused = appliance.query("SELECT reason, sum(cnt) FROM quarantine_counters_minute GROUP BY reason")
    assert refused == []
    assert appliance.query("SELECT count(DISTINCT seq) FROM telemetry") == [(sent,)]
    assert "Traceback" not in appliance.log.read_text()
