"""Deliveries beside ingest: ``python -m benchmarks.deliveries``. Aims are printed, not asserted.

A private appliance takes a stream of messages as fast as it can, by turns alone and while alerts are told: 50 notices a
second by webhook to 20 integrations, of which 3 never answer and 2 answer 500. Measured are both rates, and of the
healthy integrations the time from the commit of an alert's event to the last byte of its notice at the receiver. The
events are written straight into the database, so that their time does not depend on how many messages wait.
"""

import argparse
import contextlib
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import msgspec
from psycopg.conninfo import make_conninfo

from appliance.db.roles import INGEST
from benchmarks import load, telling
from benchmarks.appliance_process import TENANT, ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.measurements import Line, line, percentile, table
from benchmarks.messages import Stream
from benchmarks.storage import Ledger, enroll
from benchmarks.telling import Kind
from benchmarks.worker import Worker

RATE = 50.0
"""Notices a second: half of them open an alert, half close it."""
KINDS = [Kind.HANGS] * 3 + [Kind.FAILS] * 2 + [Kind.HEALTHY] * 15
OPEN_SECONDS = 10.0
"""Between the two events of an alert."""
DEVICES = 1_000
STREAMS = 4
"""In a round, one after the other."""
LEDGER_PAUSE = 0.01
LEAD_SECONDS = 6.0
"""For which notices go out before the messages begin."""
MICRO = 1e6
AIM = 2000
"""Milliseconds, for 95 of 100 notices."""
SETTINGS = '[delivery]\nallow_networks = ["127.0.0.0/8"]\n'


class Round(msgspec.Struct, frozen=True):
    """Committed messages a second, and CPU microseconds a message of the appliance and of its Postgres."""

    rate: float
    own_cpu: float
    postgres_cpu: float


class Turn(msgspec.Struct, frozen=True):
    """The same stream alone, and while alerts are told."""

    alone: Round
    beside: Round
    told: telling.Report


class Bench:
    """A started appliance with its integrations."""

    def __init__(self, appliance: ApplianceProcess, messages: int, kinds: Sequence[Kind] = KINDS) -> None:
        """``messages``: of a stream; ``kinds``: of the receivers, an integration each."""
        self._appliance = appliance
        self._messages = messages
        self._kinds = kinds
        self._device = appliance.claim_user()
        self._ledger = Ledger(appliance.conninfo(INGEST))
        self._port = free_port()

    def close(self) -> None:
        """End the connection."""
        self._ledger.close()

    def furnish(self) -> None:
        """Make devices, integrations and routes, and let every device be heard once."""
        enroll(self._appliance.conninfo(INGEST), self._device.username, DEVICES)
        with self._program() as http:
            for number in range(len(self._kinds)):
                config = {"url": f"http://127.0.0.1:{self._port}/{number}"}
                made = _made(http, "integrations", {"name": f"Sink {number}", "type": "webhook", "config": config})
                route = {"name": f"To sink {number}", "integration_id": made["integration_id"], "burst": 0}
                prefixes = [telling.prefix(number)]
                _made(http, "integration-routes", route | {"severities": ["high"], "device_prefixes": prefixes})
        self.stream(2 * DEVICES)

    def turn(self, number: int) -> Turn:
        """Run one round of each, in an order that alternates."""
        if number % 2:
            beside, told = self._beside()
            return Turn(self._rounds(), beside, told)
        alone = self._rounds()
        return Turn(alone, *self._beside())

    def _beside(self) -> tuple[Round, telling.Report]:
        """Run a round while alerts are told."""
        with Worker("benchmarks.telling", self.plan(), telling.Report) as teller:
            teller.go()
            time.sleep(LEAD_SECONDS)
            measured = self._rounds()
            return measured, teller.run()

    def _rounds(self) -> Round:
        """Run STREAMS streams one after the other, so that none is larger than what the broker queues."""
        seconds = own = postgres = 0.0
        for _ in range(STREAMS):
            found = self.stream(self._messages)
            seconds, own, postgres = (one + more for one, more in zip((seconds, own, postgres), found, strict=True))
        count = STREAMS * self._messages
        return Round(count / seconds, own / count * MICRO, postgres / count * MICRO)

    def plan(self) -> telling.Plan:
        """Return what is told: RATE events a second."""
        conninfo = make_conninfo(self._appliance.conninfo(INGEST), application_name=telling.APPLICATION)
        return telling.Plan(conninfo, TENANT, self._port, list(self._kinds), RATE, OPEN_SECONDS)

    def stream(self, count: int) -> tuple[float, float, float]:
        """Return the seconds until a stream is committed, and those of CPU of the appliance and of Postgres."""
        received, stored = self._ledger.counts()
        running = self._appliance.running
        assert running is not None
        stream = Stream(self._device.username, DEVICES, count, time.time_ns() // 1_000_000)
        plan = load.Plan(running.mqtt_host, running.mqtt_port, stream, self._device.username, self._device.password)
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            before = self._appliance.cpu(), self._appliance.cpu_of_children("postgres")
            publisher.go()
            committed = self._ledger.until(received + count, LEDGER_PAUSE)[-1][0]
            after = self._appliance.cpu(), self._appliance.cpu_of_children("postgres")
            report = publisher.report()
        if self._ledger.counts() != (received + count, stored + count):
            raise SystemExit(f"the appliance refused messages: {self._ledger.refusals() or 'as duplicates'}")
        return committed - report.started, after[0] - before[0], after[1] - before[1]

    @contextlib.contextmanager
    def _program(self) -> Iterator[httpx.Client]:
        """Yield a client of the API as an administrator."""
        running = self._appliance.running
        assert running is not None
        self._appliance.command("user", "add", "kim@bench.example", "--role", "admin", "--tenant", TENANT)
        issued = self._appliance.command("token", "add", "kim@bench.example", "--scopes", "read,write", "--days", "1")
        token = msgspec.json.decode(issued)["token"]
        with httpx.Client(base_url=running.web_url, headers={"Authorization": f"Bearer {token}"}, timeout=20) as http:
            yield http


def _made(http: httpx.Client, what: str, body: dict[str, object]) -> dict[str, str]:
    answer = http.post(f"/customer/{what}", json=body)
    if answer.status_code != 201:
        raise SystemExit(f"{what}: {answer.status_code} {answer.text}")
    found: dict[str, str] = answer.json()
    return found


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(folder: Path, *, turns: int, messages: int) -> list[Turn]:
    """Run the whole benchmark in the empty ``folder``."""
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(ApplianceProcess(folder, SETTINGS))
        progress("start", appliance.start)
        bench = stack.enter_context(contextlib.closing(Bench(appliance, messages)))
        progress("integrations and devices", bench.furnish)
        return [progress(f"turn {number + 1} of {turns}", partial(bench.turn, number)) for number in range(turns)]


def lines(turns: Sequence[Turn]) -> list[Line]:
    """Return the table's lines, each with what is aimed at."""
    alone, beside, told = ([getattr(turn, name) for turn in turns] for name in ("alone", "beside", "told"))
    ratio = statistics.median(one.rate for one in beside) / statistics.median(one.rate for one in alone)
    waits = [1000 * wait for one in told for wait in one.waits]
    p50, p95, highest = (f"{percentile(waits, share):.0f}" for share in (0.5, 0.95, 1))
    return [
        line("alone, committed messages/s", [one.rate for one in alone]),
        line("while alerts are told, messages/s", [one.rate for one in beside]),
        Line("ratio of the medians", f"{ratio:.2f}", aim=">= 0.9"),
        line("CPU of the appliance alone, us a message", [one.own_cpu for one in alone], 1),
        line("CPU of the appliance while alerts are told", [one.own_cpu for one in beside], 1),
        line("CPU of Postgres alone, us a message", [one.postgres_cpu for one in alone], 1),
        line("CPU of Postgres while alerts are told", [one.postgres_cpu for one in beside], 1),
        line("events of alerts a second", [one.events / one.seconds for one in told], 1, aim=f"{RATE:.0f}"),
        line("CPU of alerts and receivers, ms a second", [1000 * one.cpu / one.seconds for one in told]),
        Line(f"commit to receiver, {len(waits):,} notices, ms: p95", p95, f"{p50} .. {highest}", f"< {AIM}"),
        Line("of healthy integrations not told", f"{sum(one.lost for one in told)}", aim="0"),
        Line("told more than once", f"{sum(one.repeated for one in told)}", aim="0"),
    ]


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deliveries", description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="rounds of each (5)")
    parser.add_argument(
        "--messages", type=int, default=80_000, help="messages of a stream, of which a round has four (80000)"
    )
    given = parser.parse_args()
    with servers_folder() as folder:
        turns = measure(folder, turns=given.turns, messages=given.messages)
    print(f"\n{table(lines(turns))}\n")


if __name__ == "__main__":
    main()
