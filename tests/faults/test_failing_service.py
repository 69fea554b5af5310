"""A service that fails unexpectedly ends the appliance: never a process of which a part is dead."""

import random
import time

import trio

from tests.support import failing_appliance, soak
from tests.support.appliance_process import ApplianceProcess
from tests.system.test_system import operator

SERVICES = 3 if not soak.LONG else 1000
"""At most: any of them, another choice each time; the long form takes all."""
END_SECONDS = 30.0


def names_of_services(appliance: ApplianceProcess) -> list[str]:
    """Return the names of all services of a running appliance."""
    with operator(appliance) as asking:
        return [task["name"] for task in asking.get("/operator/system").json()["tasks"]]


async def test_whichever_service_fails_the_process_ends_with_its_error_and_leaves_no_child(
    appliance: ApplianceProcess,
) -> None:
    await trio.to_thread.run_sync(appliance.start)
    names = await trio.to_thread.run_sync(names_of_services, appliance)
    assert len(names) > 25
    assert await trio.to_thread.run_sync(appliance.stop) == 0
    chosen = random.sample(names, min(SERVICES, len(names)))
    appliance.module = "tests.support.failing_appliance"
    for name in chosen:
        before = len(appliance.log.read_text())
        await trio.to_thread.run_sync(lambda: appliance.launch(**{failing_appliance.VARIABLE: name}))  # noqa: B023
        assert appliance.process is not None
        code = await trio.to_thread.run_sync(appliance.process.wait, END_SECONDS)
        assert code == 1, name
        assert failing_appliance.FAULT in appliance.log.read_text()[before:], name
        deadline = time.monotonic() + END_SECONDS
        while appliance.children():
            assert time.monotonic() < deadline, f"{name}: {appliance.children()}"
            await trio.sleep(0.02)
        assert appliance.run_file() is None, name
