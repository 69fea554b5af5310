"""A table that somebody has locked: nothing is stored, so the appliance is not ready, and says who holds it."""

import json
from typing import Any

import psycopg
import trio

from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import client, settled

PATIENCE_SECONDS = 60


async def readiness(appliance: ApplianceProcess) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await trio.to_thread.run_sync(appliance.get, "/readyz"))
    return answer


async def until_it_is(appliance: ApplianceProcess, status: str) -> dict[str, Any]:
    with trio.fail_after(PATIENCE_SECONDS):
        while (answer := await readiness(appliance))["status"] != status:
            await trio.sleep(0.05)
    return answer


async def test_with_and_without_messages_a_locked_table_is_told_with_its_holder(appliance: ApplianceProcess) -> None:
    appliance.start()
    await until_it_is(appliance, "ready")
    async with client(appliance, "fleet") as connection:
        with psycopg.connect(appliance.conninfo("appliance_owner")) as other:
            other.execute("LOCK TABLE telemetry")
            holder = f"process {other.info.backend_pid} of user appliance_owner"
            assert holder in (await until_it_is(appliance, "degraded"))["failing"]["storing"], "by the probe"
            await connection.publish("tenant/fleet/device/d1/telemetry", b'{"ts":1,"a":1}')
            with trio.fail_after(PATIENCE_SECONDS):
                while "nothing was stored for" not in (await readiness(appliance))["failing"]["storing"]:
                    await trio.sleep(0.05)
            assert holder in (await readiness(appliance))["failing"]["storing"], "by the batch that is held"
        await settled(appliance, 1)
    await until_it_is(appliance, "ready")
    entries = [json.loads(line) for line in appliance.log.read_text().splitlines() if "readiness" in line]
    storing = [entry["event"] for entry in entries if "storing" in (entry.get("part"), entry.get("after"))]
    assert storing == ["not ready", "ready again"]
