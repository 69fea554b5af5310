"""What a device can lose that the broker has acknowledged: ``python -m benchmarks.acknowledgement``.

A private appliance takes a steady stream of QoS 1 messages, each with a number. At a random moment something is killed
(-9), and started again as the appliance or its user would. Then the numbers that the broker had acknowledged are
compared with the readings in the database. Measured are how many are missing, and how long before the kill the oldest
of them was acknowledged: the window of the device's own acknowledgement.

Three cases: the broker is killed while the appliance works; everything is killed at once, as by a power cut (what the
kernel has not written yet survives here, though); the broker is killed while the appliance does not take messages, so
that they wait in the broker, which saves its queue every few seconds.
"""

import argparse
import logging
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.db.roles import INGEST
from appliance.mqtt.client import Client
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.measurements import Line, line, table
from benchmarks.storage import enroll

RATE = 500.0
"""Messages a second."""
GROUP = 5
DEVICE = "d1"
FLOWING_SECONDS = 13.0
"""Before a kill: a broker that dies five times within a minute ends the appliance."""
RANDOM_SECONDS = 5.0
"""And as much more at most, at random: from one of the broker's saves to the next."""
STOPPED_SECONDS = 12.0
"""For which the appliance takes nothing in the last case: more than two of the broker's saves."""
SETTLED_SECONDS = 1.0
"""Without a further row, after which nothing more is expected."""
MILLI = 1e3


class Case(StrEnum):
    """What is killed."""

    BROKER = "broker killed"
    EVERYTHING = "everything killed"
    STOPPED = "broker killed, appliance stopped"


@dataclass(frozen=True, slots=True)
class Round:
    """One kill: how many acknowledged messages are missing, and the age of the oldest at the kill, in seconds."""

    acknowledged: int
    lost: int
    window: float


class Device:
    """Sends numbered messages and keeps when each was acknowledged."""

    def __init__(self, port: int, username: str, password: str, first: int) -> None:
        self._port, self._username, self._password = port, username, password
        self._next = first
        self.acknowledged: dict[int, float] = {}
        """Seconds of the monotonic clock."""

    async def send(self) -> None:
        """Send at RATE until cancelled."""
        async with self.client() as client:
            while True:
                numbers = range(self._next, self._next + GROUP)
                self._next += GROUP
                await client.publish_many([self.message(number) for number in numbers])
                self.acknowledged.update(dict.fromkeys(numbers, time.monotonic()))
                await trio.sleep(GROUP / RATE)

    def message(self, number: int) -> tuple[str, bytes]:
        """Return topic and payload of a message."""
        payload = b'{"ts": %d, "seq": %d, "temperature": 21.5}' % (int(time.time() * 1000), number)
        return f"tenant/{self._username}/device/{DEVICE}/telemetry", payload

    def client(self) -> Client:
        """Return a connection as the claim user."""
        return Client(
            "127.0.0.1",
            self._port,
            username=self._username,
            password=self._password,
            keep_trying=True,
            backoff=Backoff(first=0.1, maximum=0.5),
        )


def lost(acknowledged: dict[int, float], stored: set[int], killed: float) -> Round:
    """Return what is missing of the messages acknowledged before the kill, and since when."""
    before = {number: at for number, at in acknowledged.items() if at <= killed}
    missing = [at for number, at in before.items() if number not in stored]
    return Round(len(before), len(missing), killed - min(missing) if missing else 0.0)


def children(appliance: ApplianceProcess) -> Iterator[tuple[int, str]]:
    """Yield pid and name of the children of the appliance's own process."""
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text()
        except OSError:
            continue
        name, _, rest = fields.partition("(")[2].rpartition(")")
        if int(rest.split()[1]) == appliance.pid:
            yield int(entry.name), name


def broker(appliance: ApplianceProcess) -> int:
    """Return the pid of the broker."""
    return next(pid for pid, name in children(appliance) if name == "mosquitto")


def stored(appliance: ApplianceProcess) -> set[int]:
    """Return the numbers in the table, once no more come."""
    with psycopg.connect(appliance.conninfo(INGEST), autocommit=True) as connection:
        found, since = -1, time.monotonic()
        while time.monotonic() - since < SETTLED_SECONDS:
            row = connection.execute("SELECT count(*) FROM telemetry").fetchone()
            assert row is not None
            if row[0] != found:
                found, since = row[0], time.monotonic()
            time.sleep(SETTLED_SECONDS / 10)
        return {seq for (seq,) in connection.execute("SELECT seq FROM telemetry")}


async def kill_broker(appliance: ApplianceProcess) -> float:
    """Kill the broker; the appliance starts it again. Return when."""
    os.kill(broker(appliance), signal.SIGKILL)
    return time.monotonic()


async def kill_everything(appliance: ApplianceProcess) -> float:
    """Kill the appliance with all its children. Return when."""
    for pid, _ in list(children(appliance)):
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    appliance.kill()
    return killed


async def kill_stopped(appliance: ApplianceProcess) -> float:
    """Let messages wait in the broker, then kill it, and let the appliance go on. Return when."""
    pid = broker(appliance)
    os.kill(appliance.pid, signal.SIGSTOP)
    await trio.sleep(STOPPED_SECONDS)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    os.kill(appliance.pid, signal.SIGCONT)
    return killed


KILLS: dict[Case, Callable[[ApplianceProcess], Awaitable[float]]] = {
    Case.BROKER: kill_broker,
    Case.EVERYTHING: kill_everything,
    Case.STOPPED: kill_stopped,
}


async def play(appliance: ApplianceProcess, case: Case, first: int) -> Round:
    """Send, kill, recover, and compare. ``first`` is above every number that was sent before."""
    user = appliance.claim_user()
    running = appliance.running
    assert running is not None
    device = Device(running.mqtt_port, user.username, user.password, first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.send)
        await trio.sleep(FLOWING_SECONDS + RANDOM_SECONDS * random.random())
        killed = await KILLS[case](appliance)
        nursery.cancel_scope.cancel()
    if appliance.running is None:
        appliance.start()
    return lost(device.acknowledged, await trio.to_thread.run_sync(stored, appliance), killed)


def lines(rounds: dict[Case, Sequence[Round]]) -> list[Line]:
    """Return the table: of each case how many were lost, and how long before the kill the oldest was acknowledged."""
    found = []
    for case, played in rounds.items():
        found.append(line(f"{case}: messages lost", [one.lost for one in played]))
        found.append(line(f"{case}: window, ms", [one.window * MILLI for one in played]))
    return found


def main() -> None:
    """Play every case, and print what was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acknowledgement", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="kills of each case (5)")
    parser.add_argument("--cases", nargs="+", type=Case, default=list(Case), help="what is killed (all cases)")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rounds: dict[Case, Sequence[Round]] = {}
    with servers_folder() as folder, ApplianceProcess(folder) as appliance:
        progress("start", appliance.start)
        enroll(appliance.conninfo(INGEST), appliance.claim_user().username, 1)
        first = 0
        for case in given.cases:
            played = []
            for _ in range(given.rounds):
                first += 1_000_000
                played.append(progress(case, lambda: trio.run(play, appliance, case, first)))  # noqa: B023
            rounds[case] = played
    print(f"\n{table(lines(rounds))}\n{RATE:g} messages a second; {given.rounds} kills of each")


if __name__ == "__main__":
    main()
