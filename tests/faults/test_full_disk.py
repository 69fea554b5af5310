"""A disk that fills up, by messages or by somebody else: held, said, signed in to, and over by itself (P3)."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from appliance.mqtt.client import Client
from tests.support import soak
from tests.support.appliance_process import CSRF, EMAIL, PASSWORD, ApplianceProcess, empty_cluster
from tests.support.busy import within
from tests.support.processes import child
from tests.support.publisher import Publisher, client, settled, stored
from tests.support.small_volume import MB, SmallVolume, small_volume
from tests.support.web.accounts import http_client

SIZES = [260, 400] if soak.LONG else [260]
ROUNDS = 3 if soak.LONG else 1
MESSAGES = soak.times(3_000)
LEFT = (33 if soak.LONG else 27) * MB
"""Bytes that are left for messages to fill; the disk is full with 25 MB left."""
SIGN_IN_SECONDS = 2.0


@contextmanager
def on_a_volume(appliance: ApplianceProcess, megabytes: int, *, older: bool = False) -> Iterator[SmallVolume]:
    """An appliance on a volume of its own, started and with an operator; ``older``: on a cluster made elsewhere."""
    with small_volume(appliance.data_dir, megabytes * MB) as volume:
        appliance.seen_dir, appliance.prefix = volume.path, volume.enter
        try:
            if older:
                subprocess.run(["cp", "-a", empty_cluster(), volume.path / "postgres"], check=True)
            appliance.start()
            appliance.set_up()
            appliance.tenant()
            yield volume
        finally:
            appliance.close()


def says(appliance: ApplianceProcess) -> bytes:
    return appliance.get("/readyz")


async def until(appliance: ApplianceProcess, said: bytes, seconds: float = 60) -> None:
    """Wait until /readyz says it."""
    with trio.move_on_after(seconds):
        while said not in await trio.to_thread.run_sync(says, appliance):
            await trio.sleep(0.1)
        return
    raise AssertionError(f"{says(appliance)!r}\n{appliance.tail()}")


async def sign_in(appliance: ApplianceProcess) -> float:
    """Sign in from a new browser and see the first page; how long it took."""
    began = time.monotonic()
    async with http_client(base_url=appliance.run["web_url"], timeout=60) as browser:
        token = CSRF.search((await browser.get("/sign-in")).text)
        assert token is not None
        given = {"csrf_token": token[1], "email": EMAIL, "password": PASSWORD}
        answer = await browser.post("/sign-in", data=given)
        assert answer.status_code == 303, answer.text
        page = await browser.get("/system")
        assert page.status_code == 200, page.text
    return time.monotonic() - began


async def signed_in_within(appliance: ApplianceProcess, *, times: int = 3) -> str:
    """Sign in again and again, each time within the promised time; the slowest, for a message."""
    took = []
    for _ in range(times):
        limit = within(SIGN_IN_SECONDS)
        took.append(await sign_in(appliance))
        assert took[-1] < limit, f"{took}\n{appliance.tail()}"
        await trio.sleep(0.1)
    return str(took)


async def send_until(full: trio.Event, publisher: Publisher, through: Client) -> None:
    """Send messages until the disk is full."""
    while not full.is_set():
        await publisher.send(through, 200, 100, 0.02)


def pids(appliance: ApplianceProcess) -> list[int]:
    assert appliance.process is not None
    assert appliance.process.poll() is None, appliance.tail()
    return [appliance.process.pid, child(appliance, "postgres"), child(appliance, "mosquitto")]


@pytest.mark.parametrize("megabytes", SIZES)
async def test_a_disk_that_messages_fill_holds_them_and_goes_on_when_there_is_room(
    appliance: ApplianceProcess, megabytes: int
) -> None:
    publisher = Publisher("fleet", int(time.time() - 3600) * 1000)
    with on_a_volume(appliance, megabytes) as volume:
        await until(appliance, b'"ready"')
        before = pids(appliance)
        async with client(appliance, "filler") as session:
            for _ in range(ROUNDS):
                volume.fill(LEFT)
                async with trio.open_nursery() as nursery:
                    full = trio.Event()
                    nursery.start_soon(send_until, full, publisher, session)
                    await until(appliance, b'"disk"', 300)
                    await signed_in_within(appliance)
                    full.set()
                await publisher.send(session, MESSAGES)
                await signed_in_within(appliance)
                volume.clear()
                await until(appliance, b'"ready"')
                await settled(appliance, len(publisher.sent))
        assert set(stored(appliance)) == publisher.sent
        assert pids(appliance) == before, "nothing has ended"
        assert "Traceback" not in appliance.log.read_text()


@pytest.mark.parametrize("megabytes", SIZES)
async def test_a_disk_that_somebody_else_fills_at_once_ends_nothing_and_shuts_nobody_out(
    appliance: ApplianceProcess, megabytes: int
) -> None:
    publisher = Publisher("fleet", int(time.time() - 3600) * 1000)
    with on_a_volume(appliance, megabytes) as volume:
        await until(appliance, b'"ready"')
        before = pids(appliance)
        async with client(appliance, "filler") as session:
            for _ in range(ROUNDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(publisher.send, session, MESSAGES, 100, 0.05)
                    await trio.sleep(0.3)
                    volume.fill(0)
                    await until(appliance, b'"disk"')
                    await signed_in_within(appliance)
                volume.clear()
                await until(appliance, b'"ready"')
                await settled(appliance, len(publisher.sent))
        assert set(stored(appliance)) == publisher.sent
        assert pids(appliance) == before, "nothing has ended"
        assert "Traceback" not in appliance.log.read_text()


async def test_a_start_on_a_full_disk_gives_the_reserve_back_and_serves(appliance: ApplianceProcess) -> None:
    publisher = Publisher("fleet", int(time.time() - 3600) * 1000)
    with on_a_volume(appliance, 260, older=True) as volume:
        await until(appliance, b'"ready"')
        async with client(appliance, "filler") as session:
            await publisher.send(session, 500)
        await settled(appliance, 500)
        appliance.kill()
        volume.fill(0)
        appliance.start()
        await until(appliance, b'"disk"')
        await signed_in_within(appliance)
        async with client(appliance, "filler") as session:
            await publisher.send(session, 500)
        assert appliance.stop() == 0, appliance.tail()
        volume.clear()
        appliance.start()
        await until(appliance, b'"ready"')
        await settled(appliance, 1000)
        assert "Traceback" not in appliance.log.read_text()
