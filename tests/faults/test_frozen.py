"""A child that is frozen, and an appliance that is: nobody waits without end, and neither stops the other."""

import os
import signal
import socket
import time
from collections import Counter

import pytest
import trio

from appliance.children.mosquitto_program import UNKNOWN_VERSION
from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.processes import child, freeze
from tests.support.publisher import TENANT, Publisher, client, settled, stored

MESSAGES = 500
CONNECTIONS = 800
"""Each is some lines of the broker's log: together more than a pipe holds."""


def running(pid: int) -> bool:
    """Return whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def told(appliance: ApplianceProcess, words: bytes) -> None:
    """Return once /readyz says these words."""
    with trio.fail_after(within(15)):
        while words not in await trio.to_thread.run_sync(appliance.get, "/readyz"):
            await trio.sleep(0.1)


async def test_a_frozen_child_is_named_within_seconds_and_goes_on_when_it_thaws(appliance: ApplianceProcess) -> None:
    appliance.start()
    await told(appliance, b'"ready"')
    broker, database = child(appliance, "mosquitto"), child(appliance, "postgres")
    os.kill(broker, signal.SIGSTOP)
    await told(appliance, b'"broker":"does not answer"')
    os.kill(broker, signal.SIGCONT)
    await told(appliance, b'"ready"')
    frozen = freeze(database)
    await told(appliance, b'"postgres":"does not answer"')
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    await told(appliance, b'"ready"')
    assert (child(appliance, "mosquitto"), child(appliance, "postgres")) == (broker, database), "neither was restarted"
    assert appliance.stop() == 0


@pytest.mark.parametrize("program", ["mosquitto", "postgres"])
async def test_a_frozen_child_is_replaced_again_and_again_and_nothing_is_lost(
    appliance: ApplianceProcess, program: str
) -> None:
    appliance.module = "tests.support.impatient_appliance"
    appliance.start()
    publisher = Publisher(TENANT, (int(time.time()) - 3600) * 1000)
    async with client(appliance, "sender") as connection:
        for _ in range(soak.times(1)):
            await publisher.send(connection, MESSAGES)
            await settled(appliance, len(publisher.sent))  # or else a broker that is killed may take them with it
            stopped = freeze(child(appliance, program))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.send, connection, MESSAGES)
                with trio.fail_after(within(30)):
                    while any(running(pid) for pid in stopped):
                        await trio.sleep(0.1)
            await settled(appliance, len(publisher.sent))
            await told(appliance, b'"ready"')
            assert child(appliance, program) not in stopped
    assert Counter(stored(appliance)) == Counter(publisher.sent)
    assert appliance.stop() == 0


async def test_a_frozen_appliance_does_not_stop_its_broker(appliance: ApplianceProcess) -> None:
    appliance.start()
    await told(appliance, b'"ready"')
    assert appliance.process is not None
    where = (appliance.run["mqtt_host"], appliance.run["mqtt_port"])
    os.kill(appliance.process.pid, signal.SIGSTOP)
    try:
        for _ in range(CONNECTIONS):
            with socket.create_connection(where, timeout=5) as device:
                device.sendall(UNKNOWN_VERSION)
                device.recv(4)  # raises TimeoutError when the broker hangs
    finally:
        os.kill(appliance.process.pid, signal.SIGCONT)
    await told(appliance, b'"ready"')
    assert appliance.stop() == 0
