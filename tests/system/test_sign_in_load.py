"""A hundred people sign in at once, then hundreds of wrong tries: messages are stored as if nobody had."""

import math
import re
import time
from pathlib import Path

import trio

from appliance.people.throttle import FIRST_WAIT, FREE
from tests.support import soak
from tests.support.appliance_process import CSRF, EMAIL, PASSWORD, ApplianceProcess
from tests.support.publisher import Publisher, client, ledger_sums, settled
from tests.support.web.accounts import http_client

PEOPLE = 100
GUESSERS = 20
TRIES = soak.times(10)
"""Of each of those who guess a password."""
MESSAGES = 2_000
MIB = 1024 * 1024
ROOM = 96 * MIB
"""Two hashes of 19 MiB, a hundred connections, and what the allocator keeps of them."""


def most_memory(appliance: ApplianceProcess) -> int:
    """Bytes that the process has had at most."""
    assert appliance.process is not None
    status = Path(f"/proc/{appliance.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def waits_within(seconds: float) -> int:
    """Return how many waits of the throttle end within a time, each twice as long as the one before."""
    return int(math.log2(seconds / FIRST_WAIT + 1))


async def sign_in(url: str, password: str, statuses: list[int], tries: int = 1) -> None:
    """Try to sign in from a browser of its own."""
    async with http_client(base_url=url, timeout=120) as browser:
        token = CSRF.search((await browser.get("/sign-in")).text)
        assert token is not None
        given = {"csrf_token": token[1], "email": EMAIL, "password": password}
        for _ in range(tries):
            answer = await browser.post("/sign-in", data=given)
            statuses += [answer.status_code]


async def test_sign_ins_take_neither_memory_nor_messages(appliance: ApplianceProcess) -> None:
    await trio.to_thread.run_sync(appliance.start)
    await trio.to_thread.run_sync(appliance.set_up)
    await trio.to_thread.run_sync(appliance.tenant)
    url, publisher = appliance.run["web_url"], Publisher("fleet", int(time.time() - 3600) * 1000)
    right: list[int] = []
    wrong: list[int] = []
    await sign_in(url, PASSWORD, right)
    async with client(appliance, "load") as session:
        await publisher.send(session, 500)
        await settled(appliance, 500)
        before = most_memory(appliance)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.send, session, MESSAGES, 100, 0.05)
            for _ in range(PEOPLE):
                nursery.start_soon(sign_in, url, PASSWORD, right)
        # the same address: whoever is right is not counted, so only now those who are wrong
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.send, session, MESSAGES, 100, 0.05)
            for _ in range(GUESSERS):
                nursery.start_soon(sign_in, url, "not the password", wrong, TRIES)
        guessed = time.monotonic() - began
        total = 500 + 2 * MESSAGES
        await settled(appliance, total)
    assert right == [303] * (PEOPLE + 1)
    assert set(wrong) == {401, 429}
    assert wrong.count(401) <= FREE + waits_within(guessed), "ten are free, and one after each wait"
    assert len(wrong) == GUESSERS * TRIES
    assert most_memory(appliance) - before < ROOM
    assert ledger_sums(appliance) == {"received": total, "stored": total, "refused": 0, "duplicate": 0, "cleared": 0}
