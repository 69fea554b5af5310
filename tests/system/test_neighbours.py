"""Two appliances on one external broker: the second does not start, so that readings without `ts` are stored once."""

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
import trio
from mqtt5 import QoS

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.mosquitto_server import MosquittoServer

TOPIC = "tenant/fleet/device/d-1/telemetry"
SEATS = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'fleet')",
    """
    INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start,
      term_end, status)
    VALUES (now(), 'fleet', 'main', 'MAIN', 10, now(), now() + interval '90 days', 'ACTIVE')
    """,
)
PATIENCE = 60.0


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with MosquittoServer(persistence=True) as server:
        yield server


@pytest.fixture
def pair(broker: MosquittoServer) -> Iterator[tuple[ApplianceProcess, ApplianceProcess]]:
    """Two appliances, each with a database of its own, on one broker."""
    address = {"APPLIANCE_BROKER_URL": f"mqtt://{broker.host}:{broker.port}"}
    first, second = ApplianceProcess(address), ApplianceProcess(address)
    try:
        yield first, second
    finally:
        first.close()
        second.close()


def furnish(appliance: ApplianceProcess) -> None:
    with psycopg.connect(appliance.conninfo()) as connection:
        for statement in SEATS:
            connection.execute(statement.encode())


def readings(appliance: ApplianceProcess) -> int:
    [(count,)] = appliance.query("SELECT count(*) FROM telemetry WHERE device_id = 'd-1'")
    return int(count)


async def say(broker: MosquittoServer) -> None:
    """Send a reading without a ``ts``."""
    async with Client(broker.host, broker.port, clean_start=True) as device:
        await device.publish(TOPIC, b'{"t":1}', qos=QoS.AT_LEAST_ONCE)


async def stored(appliance: ApplianceProcess, count: int) -> None:
    with trio.fail_after(within(PATIENCE)):
        while await trio.to_thread.run_sync(readings, appliance) < count:
            await trio.sleep(0.05)


def refused(appliance: ApplianceProcess) -> str:
    """Launch it, and return the last line of one that does not start."""
    appliance.launch()
    assert appliance.process is not None
    try:
        assert appliance.process.wait(within(PATIENCE)) == 1
    except subprocess.TimeoutExpired:
        pytest.fail(f"the second one runs:\n{appliance.tail()}")
    assert "Traceback" not in appliance.tail()
    return appliance.tail().splitlines()[-1]


async def test_a_second_appliance_on_one_broker_does_not_start_and_names_the_first(
    pair: tuple[ApplianceProcess, ApplianceProcess], broker: MosquittoServer
) -> None:
    first, second = pair
    await trio.to_thread.run_sync(first.start)
    furnish(first)
    [(instance, name)] = first.query("SELECT instance, name FROM ingest_instances")
    line = await trio.to_thread.run_sync(refused, second)
    for text in (f"the appliance {name} (instance {instance})", f"{broker.host}:{broker.port}", "twice"):
        assert text in line
    await say(broker)
    await stored(first, 1)
    assert sum("tenant/+/device/+/+" in one for one in broker.log().splitlines()) == 1, "it was asked before"

    first.kill()  # what it leaves on the broker is no neighbour of its next start
    await trio.to_thread.run_sync(first.start)
    first.stop()
    await trio.to_thread.run_sync(second.start)
    furnish(second)
    await say(broker)
    await stored(second, 1)
    assert (readings(second), second.stop()) == (1, 0)
