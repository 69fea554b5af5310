"""SIGTERM under load, Postgres and the broker killed under load: nothing lost, nothing left over."""

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio_websocket import wrap_client_stream

from appliance.runtime.signals import ONE_WISH_SECONDS
from tests.support.appliance_process import ApplianceProcess
from tests.support.processes import child
from tests.support.publisher import TENANT, Publisher, client, ledger_sums, settled, stored
from tests.support.web.accounts import signed_in

MESSAGES = 4000
KILLS = 2
"""Of one child in a test: five in a minute would end the appliance."""


def publisher() -> Publisher:
    return Publisher(TENANT, (int(time.time()) - 3600) * 1000)


def agrees(appliance: ApplianceProcess, sender: Publisher) -> None:
    """The table holds each message of the publisher once, and so does the ledger."""
    found = stored(appliance)
    assert len(found) == len(set(found))
    assert set(found) == sender.sent
    sums = ledger_sums(appliance)
    assert sums["stored"] == len(found)
    assert sums["received"] == sums["stored"] + sums["refused"] + sums["duplicate"] + sums["cleared"]


@asynccontextmanager
async def page(appliance: ApplianceProcess) -> AsyncIterator[None]:
    """An open page: its live WebSocket."""
    url = appliance.run["web_url"]
    port = int(url.rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        person = signed_in(appliance.conninfo())
        headers = [(b"Origin", url.encode()), (b"Cookie", person.headers()["Cookie"].encode())]
        await wrap_client_stream(nursery, stream, f"127.0.0.1:{port}", "/live?page=overview", extra_headers=headers)
        yield
        nursery.cancel_scope.cancel()


def another(appliance: ApplianceProcess, program: str, former: int) -> bool:
    """Whether a child of that name runs that is not the former one."""
    try:
        return child(appliance, program) != former
    except (AssertionError, OSError):
        return False


async def test_sigterm_under_load_loses_nothing_and_leaves_nothing(appliance: ApplianceProcess) -> None:
    appliance.start()
    sender = publisher()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, connection, MESSAGES, 200, 0.02)
        async with page(appliance):
            await trio.sleep(0.3)
            assert await trio.to_thread.run_sync(appliance.stop) == 0, appliance.tail()
        assert appliance.children() == []
        assert appliance.run_file() is None
        await trio.to_thread.run_sync(appliance.start)
    await settled(appliance, MESSAGES)
    agrees(appliance, sender)


async def test_a_second_signal_ends_it_at_once_and_the_children_follow(appliance: ApplianceProcess) -> None:
    appliance.start()
    assert appliance.process is not None
    children = appliance.children()
    assert len(children) >= 2
    os.kill(child(appliance, "postgres"), signal.SIGSTOP)  # so that an orderly stop would take long
    appliance.process.terminate()
    appliance.process.terminate()  # the same signal twice counts once
    with trio.fail_after(60):
        while '"stopping"' not in appliance.log.read_text():
            await trio.sleep(0.02)
    await trio.sleep(2 * ONE_WISH_SECONDS)
    assert appliance.process.poll() is None
    appliance.process.terminate()
    code = await trio.to_thread.run_sync(appliance.process.wait, 30)
    assert code == 128 + signal.SIGTERM
    for pid in children:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)
    with trio.fail_after(60):
        while appliance.children():
            await trio.sleep(0.05)


async def test_postgres_killed_under_load_comes_back_and_loses_nothing(appliance: ApplianceProcess) -> None:
    appliance.start()
    sender = publisher()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, connection, MESSAGES, 100, 0.02)
        for _ in range(KILLS):
            await trio.sleep(0.3)
            victim = child(appliance, "postgres")
            os.kill(victim, signal.SIGKILL)
            with trio.fail_after(60):
                while not another(appliance, "postgres", victim) or b'"ready"' not in await _readyz(appliance):
                    await trio.sleep(0.05)
    await settled(appliance, MESSAGES)
    agrees(appliance, sender)
    assert appliance.process is not None
    assert appliance.process.poll() is None
    assert "Traceback" not in appliance.tail()


async def test_the_broker_stopped_under_load_comes_back_and_loses_nothing(appliance: ApplianceProcess) -> None:
    appliance.start()
    sender = publisher()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, connection, MESSAGES, 100, 0.02)
        for _ in range(KILLS):
            await trio.sleep(0.3)
            victim = child(appliance, "mosquitto")
            os.kill(victim, signal.SIGTERM)
            with trio.fail_after(60):
                while not another(appliance, "mosquitto", victim):
                    await trio.sleep(0.02)
    await settled(appliance, MESSAGES)
    agrees(appliance, sender)
    assert "Traceback" not in appliance.tail()


async def _readyz(appliance: ApplianceProcess) -> bytes:
    try:
        return await trio.to_thread.run_sync(appliance.get, "/readyz")
    except OSError:
        return b""
