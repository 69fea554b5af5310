"""Renewals beside ingest: ``python -m benchmarks.renewals``. Aims are printed, not asserted.

A private appliance takes a steady stream of one tenant's messages. Meanwhile another tenant renews a subscription with
10,000 seats in use, again and again, over the API; each time 500 devices stop, whose credentials are revoked. Measured
are the transaction and the answer, which comes when the broker knows; and of the messages the time from publish to
commit: the longest of a window of time alone, and of those on their way during a renewal.
"""

import argparse
import contextlib
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import msgspec
import psycopg
import structlog
import trio

from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.credentials import credential
from benchmarks import load
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.measurements import Line, latencies, line, table
from benchmarks.messages import Stream
from benchmarks.storage import Ledger, enroll
from benchmarks.worker import Worker

TENANT = "renewing"
SEATS, STOPPING = 10_000, 500
DEVICES = 1_000
"""Of the other tenant, whose messages are measured."""
RATE = 1_000.0
"""Messages a second."""
ALONE_SECONDS = 8.0
"""Before the first renewal, and the end of what is called alone."""
PAUSE_SECONDS = 3.0
"""Between two renewals."""
AFTER_SECONDS = 0.2
"""Messages published so long after an answer count as on their way during the renewal."""
LEDGER_PAUSE = 0.001
MILLI = 1e3
ENROLL = """
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
SELECT now(), now(), tenant_id, 'r' || lpad(n::text, 5, '0'), 'ACTIVE', subscription_id
FROM subscriptions, generate_series(0, %(seats)s - 1) AS n WHERE tenant_id = %(tenant)s
"""
TO_READ = "SELECT term_end FROM subscriptions WHERE tenant_id = %s AND subscription_type = 'MAIN'"
WATCH_PAUSE = 0.002


@dataclass(frozen=True, slots=True)
class Renewal:
    """When one was asked for, when another session saw it, and when it was answered: in seconds since 1970."""

    asked: float
    committed: float
    answered: float


@dataclass(frozen=True, slots=True)
class Result:
    """The renewals, and the seconds from publish to commit: of the messages of each window of time."""

    renewals: Sequence[Renewal]
    alone: Sequence[Sequence[float]]
    """Windows before the first renewal, each as long as a renewal takes."""
    beside: Sequence[Sequence[float]]
    """Of each renewal, the messages that were on their way during it."""


class Bench:
    """A started appliance with both tenants."""

    def __init__(self, appliance: ApplianceProcess, rounds: int) -> None:
        self._appliance = appliance
        self._rounds = rounds
        self._device = appliance.claim_user()
        self._subscription = ""
        self._token = ""

    def furnish(self) -> None:
        """Make the tenants, their devices and the credentials that will be revoked."""
        command, conninfo = self._appliance.command, self._appliance.conninfo(INGEST)
        enroll(conninfo, self._device.username, DEVICES)
        command("tenant", "add", TENANT)
        sold = command("subscription", "add", TENANT, "--type", "MAIN", "--limit", str(SEATS), "--days", "20")
        self._subscription = msgspec.json.decode(sold)["subscription_id"]
        command("user", "add", "kim@bench.example", "--role", "admin", "--tenant", TENANT)
        issued = command("token", "add", "kim@bench.example", "--scopes", "read,write", "--days", "1")
        self._token = msgspec.json.decode(issued)["token"]
        with psycopg.connect(conninfo) as connection:
            connection.execute(ENROLL.encode(), {"tenant": TENANT, "seats": SEATS})
        trio.run(self._issue, [name for number in range(self._rounds) for name in stopping(number)])

    async def _issue(self, names: Sequence[str]) -> None:
        now = datetime.now(UTC)
        by = ChangeContext(Actor("benchmark", ActorKind.APPLIANCE), now, now, user_id=None)
        async with await connect(self._appliance.conninfo(INGEST)) as connection:
            await credential.create_many(connection, TENANT, names, by)

    def run(self) -> Result:
        """Send messages at a steady rate, and renew meanwhile."""
        running, device = self._appliance.running, self._device
        assert running is not None
        count = int(RATE * (ALONE_SECONDS + self._rounds * (PAUSE_SECONDS + 1)))
        with contextlib.closing(Ledger(self._appliance.conninfo(INGEST))) as ledger:
            stream = Stream(device.username, DEVICES, DEVICES, time.time_ns() // 1_000_000)
            self._send(
                ledger, load.Plan(running.mqtt_host, running.mqtt_port, stream, device.username, device.password)
            )
            stream = Stream(device.username, DEVICES, count, time.time_ns() // 1_000_000)
            plan = load.Plan(running.mqtt_host, running.mqtt_port, stream, device.username, device.password, rate=RATE)
            with ThreadPoolExecutor(1) as elsewhere:
                renewals = elsewhere.submit(self._renew_all)
                published, waits = self._send(ledger, plan)
                done = renewals.result()
        return split(published, waits, done)

    def _send(self, ledger: Ledger, plan: load.Plan) -> tuple[list[float], list[float]]:
        """Publish a stream; return the moments of its messages, and the seconds until each was committed."""
        received, _ = ledger.counts()
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            publisher.go()
            seen = ledger.until(received + plan.stream.count, LEDGER_PAUSE)
            published = publisher.report().published
        return published, latencies(published, [(moment, number - received) for moment, number in seen])

    def _renew_all(self) -> list[Renewal]:
        running = self._appliance.running
        assert running is not None
        time.sleep(ALONE_SECONDS)
        head = {"Authorization": f"Bearer {self._token}"}
        found = []
        with httpx.Client(base_url=running.web_url, headers=head, timeout=30) as http:
            for number in range(self._rounds):
                found.append(self._renew(http, number))
                time.sleep(PAUSE_SECONDS)
        return found

    def _renew(self, http: httpx.Client, number: int) -> Renewal:
        asked = {
            "subscription_id": self._subscription,
            "term_days": 30,
            "new_device_limit": SEATS - STOPPING * (number + 1),
            "devices_to_deactivate": stopping(number),
            "again": True,
        }
        with (
            psycopg.connect(self._appliance.conninfo(INGEST), autocommit=True) as watcher,
            ThreadPoolExecutor(1) as one,
        ):
            before = watcher.execute(TO_READ.encode(), [TENANT]).fetchone()
            began = time.time()
            answer = one.submit(_post, http, asked, f"round-{number}")
            while watcher.execute(TO_READ.encode(), [TENANT]).fetchone() == before and not answer.done():
                time.sleep(WATCH_PAUSE)
            committed = time.time()
            return Renewal(began, committed, answer.result())


def _post(http: httpx.Client, asked: dict[str, object], key: str) -> float:
    """Ask for a renewal; return when it was answered."""
    answer = http.post("/customer/subscription/renew", json=asked, headers={"Idempotency-Key": key})
    answered = time.time()
    if answer.status_code != httpx.codes.OK or not answer.json()["changed"]:
        raise SystemExit(f"not renewed: {answer.status_code} {answer.text[:500]}")
    return answered


def stopping(number: int) -> list[str]:
    """Return the devices that stop in a round."""
    return [f"r{place:05d}" for place in range(number * STOPPING, (number + 1) * STOPPING)]


def split(published: Sequence[float], waits: Sequence[float], renewals: Sequence[Renewal]) -> Result:
    """Tell the messages before the first renewal from those that were on their way during one, by windows of time."""
    first = min(one.asked for one in renewals)
    length = AFTER_SECONDS + statistics.median(one.answered - one.asked for one in renewals)
    alone: dict[int, list[float]] = defaultdict(list)
    beside: list[list[float]] = [[] for _ in renewals]
    for at, wait in zip(published, waits, strict=True):
        if at + wait < first:
            alone[int((first - at) / length)].append(wait)
            continue
        for one, own in zip(renewals, beside, strict=True):
            if at < one.answered + AFTER_SECONDS and at + wait > one.asked:
                own.append(wait)
    return Result(renewals, list(alone.values()), beside)


def lines(result: Result) -> list[Line]:
    """Return the table's lines, each with what is aimed at."""
    answers = [MILLI * (one.answered - one.asked) for one in result.renewals]
    commits = [MILLI * (one.committed - one.asked) for one in result.renewals]
    alone, beside = ([MILLI * max(window) for window in windows] for windows in (result.alone, result.beside))
    later = statistics.median(beside) - statistics.median(alone)
    return [
        line("renewal asked to committed, ms", commits, aim="< 1,000"),
        line("renewal asked to answered: the broker knows, ms", answers, aim="< 1,000"),
        line("publish to commit, the longest of a window alone, ms", alone),
        line("the longest during a renewal, ms", beside),
        Line("difference of the medians, ms", f"{later:.0f}", aim="<= 100"),
    ]


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.renewals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="renewals, each of which stops 500 devices (5)")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with servers_folder() as folder, ApplianceProcess(folder) as appliance:
        progress("start", appliance.start)
        bench = Bench(appliance, given.rounds)
        progress("tenants, devices and credentials", bench.furnish)
        result = progress(f"{given.rounds} renewals", bench.run)
    print(f"\n{table(lines(result))}\n")


if __name__ == "__main__":
    main()
