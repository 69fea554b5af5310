"""kill -9 of the appliance and of Postgres while devices are provisioned, limits reached and poison rows refused.

What must hold afterwards, and in every snapshot on the way: each message is somewhere, none is stored twice, and the
ledger agrees. A refused message that was not acknowledged comes again and is judged anew, so refusals are counted at
least once a message; what is stored is counted exactly.
"""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import trio

from appliance.mqtt.client import Client
from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import client

MESSAGES = soak.times(5000)
"""At least: messages are sent until the last kill."""
ROUNDS = soak.times(2)
ROUND = ("appliance", "appliance", "appliance", "postgres")
"""Who is killed in a round, in any order: a child that dies five times in a minute ends the appliance, and rightly."""
SEATS = soak.times(5000)
"""More than there are new devices."""
GROUP = 250
TENANT = "fleet"
NOISY = "noisy"


class Mixture:
    """Numbered messages: good ones of old and ever new devices, malformed, poison, and those of a noisy device."""

    def __init__(self, base_ms: int) -> None:
        self.good: set[int] = set()
        self.noisy: set[int] = set()
        self.malformed = 0
        self.poison = 0
        self._base = base_ms

    def messages(self, first: int, count: int) -> Iterator[tuple[str, bytes]]:
        for number in range(first, first + count):
            device, body = self._message(number)
            payload = b'{"ts":%d,"seq":%d,%b' % (self._base + number, number, body)
            yield f"tenant/{TENANT}/device/{device}/telemetry", payload

    def _message(self, number: int) -> tuple[str, bytes]:
        """Device, and the end of the payload."""
        if number % 500 == 7:
            self.poison += 1
            return f"d{number % 10}", b'"poison":1}'
        if number % 50 == 13:
            self.malformed += 1
            return f"d{number % 10}", b'"temperature":'
        if number % 20 == 3:
            self.noisy.add(number)
            return NOISY, b'"temperature":1}'
        self.good.add(number)
        new = number % 100 == 50
        return f"n{number}" if new else f"d{number % 10}", b'"temperature":20.5,"humidity":40,"battery":3.6}'


async def send(mixture: Mixture, through: Client, over: trio.Event) -> None:
    """Send until the kills are over, and at least MESSAGES."""
    for first in itertools.count(step=GROUP):
        if over.is_set() and first >= MESSAGES:
            return
        await through.publish_many(mixture.messages(first, GROUP))
        await trio.sleep(0.02)


def postmaster(appliance: ApplianceProcess) -> int | None:
    """The pid of the embedded Postgres, if it runs."""
    try:
        return int((appliance.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return None


def check_snapshot(appliance: ApplianceProcess) -> None:
    """Check that the ledger balances and agrees with the tables, in one snapshot of a connection of its own."""
    statement = """
      SELECT (SELECT count(*) FROM telemetry), (SELECT coalesce(sum(cnt), 0) FROM quarantine_counters_minute),
        coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(refused), 0), coalesce(sum(duplicate), 0),
        coalesce(sum(cleared), 0)
      FROM ingest_ledger"""
    rows, counted, received, stored, refused, duplicate, cleared = map(int, appliance.query(statement)[0])
    assert rows == stored
    assert counted == refused
    assert received == stored + refused + duplicate + cleared
    seats = (
        "SELECT active_device_count, (SELECT count(*) FROM device_registry WHERE tenant_id = %s AND status = 'ACTIVE')"
    )
    assert len(set(appliance.query(f"{seats} FROM subscriptions WHERE tenant_id = %s", TENANT, TENANT)[0])) == 1


def prepare(appliance: ApplianceProcess) -> None:
    """A limit of its own for the noisy device, and a table that refuses poison."""
    appliance.query("UPDATE device_registry SET rate = 1, burst = 5 WHERE device_id = %s RETURNING 1", NOISY)
    with psycopg.connect(appliance.conninfo("appliance_owner"), autocommit=True) as connection:
        connection.execute("ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (NOT metrics ? 'poison')")


def refusals(appliance: ApplianceProcess) -> dict[str, int]:
    rows = appliance.query("SELECT reason, sum(cnt)::bigint FROM quarantine_counters_minute GROUP BY reason")
    return {reason: int(count) for reason, count in rows}


async def test_nothing_is_lost_or_doubled_whatever_dies(appliance: ApplianceProcess) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    appliance.start()
    appliance.tenant(TENANT, seats=SEATS)
    mixture = Mixture((int(time.time()) - 3600) * 1000)
    over = trio.Event()
    victims = [victim for _ in range(ROUNDS) for victim in chance.sample(ROUND, len(ROUND))]
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        await connection.publish(f"tenant/{TENANT}/device/{NOISY}/heartbeat", b"")
        with trio.fail_after(60):
            while not appliance.query("SELECT 1 FROM device_registry WHERE device_id = %s", NOISY):
                await trio.sleep(0.05)
        await trio.to_thread.run_sync(prepare, appliance)
        nursery.start_soon(send, mixture, connection, over)
        for victim in victims:
            await trio.sleep(chance.random() * 0.25)
            if victim == "appliance":
                appliance.kill()
                await trio.to_thread.run_sync(appliance.start)
                check_snapshot(appliance)
            else:
                pid = postmaster(appliance)
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                with trio.fail_after(60):
                    while postmaster(appliance) in (None, pid) or b'"ready"' not in await readyz(appliance):
                        await trio.sleep(0.05)
        over.set()
    await settled(appliance, len(mixture.good))
    check_snapshot(appliance)

    rows = [seq for (seq,) in appliance.query("SELECT seq FROM telemetry WHERE device_id <> %s", NOISY)]
    noisy = [
        seq for (seq,) in appliance.query("SELECT seq FROM telemetry WHERE device_id = %s AND seq IS NOT NULL", NOISY)
    ]
    assert len(rows) == len(set(rows)), f"seed {seed}"
    assert set(rows) == mixture.good, f"seed {seed}"
    assert len(noisy) == len(set(noisy)), f"seed {seed}"
    assert set(noisy) <= mixture.noisy, f"seed {seed}"
    counts = refusals(appliance)
    assert counts.keys() <= {"INVALID_JSON", "STORE_REFUSED", "RATE_LIMITED"}, f"seed {seed}: {counts}"
    assert counts["INVALID_JSON"] >= mixture.malformed
    assert counts["STORE_REFUSED"] >= mixture.poison
    assert len(noisy) + counts.get("RATE_LIMITED", 0) >= len(mixture.noisy)
    devices = appliance.query("SELECT count(*) FROM device_registry WHERE tenant_id = %s", TENANT)[0][0]
    assert devices == 11 + len([number for number in mixture.good if number % 100 == 50])
    assert "Traceback" not in Path(appliance.log).read_text()


async def readyz(appliance: ApplianceProcess) -> bytes:
    try:
        return await trio.to_thread.run_sync(appliance.get, "/readyz")
    except OSError:
        return b""


async def settled(appliance: ApplianceProcess, good: int) -> None:
    """Wait until all good messages are there; what is missing then is lost."""
    statement = "SELECT count(*) FROM telemetry WHERE device_id <> 'noisy'"
    deadline = trio.current_time() + 90
    while trio.current_time() < deadline:
        if (await trio.to_thread.run_sync(appliance.query, statement))[0][0] >= good:
            return
        await trio.sleep(0.2)
    raise AssertionError(f"{appliance.query(statement)[0][0]} of {good} good messages\n{appliance.tail()}")
