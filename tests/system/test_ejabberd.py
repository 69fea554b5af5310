"""A whole appliance at a broker of others, by ``broker.url``: an ejabberd that lets it do no more than it needs."""

import json
import time
from collections.abc import Iterator

import psycopg
import pytest
import trio

from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.ejabberd_clients import at
from tests.support.ejabberd_server import EjabberdServer
from tests.system.test_neighbours import SEATS

ACCOUNTS = {"appliance": "a long password", "device": "another password"}
RIGHTS = {
    "access_subscribe": {"tenant/#": "appliance", "appliance/peers": "appliance"},
    "access_publish": {"tenant/#": "all", "appliance/peers": "appliance"},
}
"""What the README asks for, and nothing else."""
LIMITS = {"session_expiry": "14 days", "max_queue": 1_000_000}
"""What it asks for beside them."""
PATIENCE = 60.0


@pytest.fixture
def ejabberd() -> Iterator[EjabberdServer]:
    rules = {"appliance": {"allow": {"user": "appliance@localhost"}}}
    with EjabberdServer(users=ACCOUNTS, options=RIGHTS, access_rules=rules) as server:
        yield server


@pytest.fixture
def appliance(ejabberd: EjabberdServer) -> Iterator[ApplianceProcess]:
    """An appliance of this broker that is not started yet."""
    process = ApplianceProcess(
        {
            "APPLIANCE_BROKER_URL": f"mqtt://{ejabberd.host}:{ejabberd.port}",
            "APPLIANCE_BROKER_USERNAME": "appliance",
            "APPLIANCE_BROKER_PASSWORD": ACCOUNTS["appliance"],
        }
    )
    try:
        yield process
    finally:
        process.close()


def furnish(appliance: ApplianceProcess) -> None:
    with psycopg.connect(appliance.conninfo()) as connection:
        for statement in SEATS:
            connection.execute(statement.encode())


def readings(numbers: range) -> list[tuple[str, bytes]]:
    """Return readings with times of their own, of three devices."""
    now = time.time()
    return [
        (f"tenant/fleet/device/d-{number % 3}/telemetry", json.dumps({"ts": now - number / 100, "n": number}).encode())
        for number in numbers
    ]


async def sent(ejabberd: EjabberdServer, messages: list[tuple[str, bytes]]) -> None:
    """Send messages as a device; returns when the broker has all of them."""
    async with at(ejabberd, username="device", password=ACCOUNTS["device"]) as device:
        await device.publish_many(messages)


def stored(appliance: ApplianceProcess) -> list[int]:
    return [int(number) for (number,) in appliance.query("SELECT metrics ->> 'n' FROM telemetry ORDER BY 1")]


async def has_stored(appliance: ApplianceProcess, count: int) -> list[int]:
    """Return the numbers of the stored readings once there are so many."""
    with trio.fail_after(within(PATIENCE)):
        while len(found := await trio.to_thread.run_sync(stored, appliance)) < count:
            await trio.sleep(0.05)
    return sorted(found)


async def warnings(appliance: ApplianceProcess) -> dict[str, str]:
    """Return what the appliance warns of, once it is ready."""
    with trio.fail_after(within(PATIENCE)):
        while (told := json.loads(await trio.to_thread.run_sync(appliance.get, "/readyz")))["status"] != "ready":
            await trio.sleep(0.05)
    found: dict[str, str] = told.get("warnings", {})
    return found


async def test_readings_are_stored_once_over_restarts_of_both(
    appliance: ApplianceProcess, ejabberd: EjabberdServer
) -> None:
    await trio.to_thread.run_sync(appliance.start)
    furnish(appliance)
    bad = [("tenant/fleet/device/d-1/telemetry", payload) for payload in (b"{", b"\xff", b"[1]")]
    await sent(ejabberd, [*readings(range(50)), *bad])
    assert await has_stored(appliance, 50) == list(range(50))

    assert "it keeps our session for 5 minutes, and 7 days are needed" in (await warnings(appliance))["broker_session"]

    appliance.kill()
    await sent(ejabberd, readings(range(50, 80)))  # which ejabberd keeps for our session
    await trio.to_thread.run_sync(appliance.start)
    assert '"session_present": true' in appliance.tail()
    assert await has_stored(appliance, 80) == list(range(80))

    await trio.to_thread.run_sync(ejabberd.kill)
    ejabberd.options |= LIMITS
    await trio.to_thread.run_sync(ejabberd.start)  # it has forgotten our session
    assert "it lost our session" in (await warnings(appliance))["broker_session"]
    await sent(ejabberd, readings(range(80, 100)))
    assert await has_stored(appliance, 100) == list(range(100))
    refused = appliance.query("SELECT reason FROM quarantine_events ORDER BY reason")
    assert [reason for (reason,) in refused] == ["INVALID_ENCODING", "INVALID_JSON", "INVALID_PAYLOAD"]
    assert appliance.stop() == 0
