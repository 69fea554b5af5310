"""CPU times that a busy machine does not disturb: ``python -m benchmarks.costs``. Nothing is asserted.

Rates say little while others use the processors. CPU time says more: what a delivery costs the appliance and its
Postgres, and what a message costs both, alone and with 200 rules. The kernel counts it for each process. A delivery's
is the difference between a while with notices and one without, divided by the notices that were told; what Postgres
spends on the statements that write the events of the alerts is shown apart, since whoever moves an alert pays for it.
"""

import argparse
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psycopg

from appliance.db.roles import INGEST, OWNER
from benchmarks import deliveries, telling
from benchmarks.appliance_process import TENANT, ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.deliveries import DEVICES
from benchmarks.measurements import Line, line, table
from benchmarks.rules import Rules
from benchmarks.telling import Kind
from benchmarks.worker import Worker

LEAD_SECONDS = 12.0
"""For which notices go out before their cost is measured: by then as many alerts close as open."""
MICRO, MILLI = 1e6, 1e3
PAUSE_SECONDS = 0.01
BACKENDS_OF = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
TOLD = "SELECT count(*) FROM delivery_attempts"
"""Tries: each is a part of a claim, a send and a settlement."""


class Delivery(msgspec.Struct, frozen=True):
    """CPU milliseconds a delivery of the appliance and of Postgres, and of Postgres an event of an alert.

    ``told`` and ``late``: tries a second, and notices that had not arrived when the benchmark gave up waiting.
    """

    own: float
    postgres: float
    event: float
    told: float
    late: int


class Message(msgspec.Struct, frozen=True):
    """CPU microseconds a message of the appliance and of Postgres."""

    own: float
    postgres: float


class Turn(msgspec.Struct, frozen=True):
    """One of each."""

    delivery: Delivery
    alone: Message
    judged: Message


class Bench:
    """A started appliance, and what is measured of it."""

    def __init__(self, appliance: ApplianceProcess, messages: int, seconds: float) -> None:
        self._appliance = appliance
        self._messages = messages
        self._seconds = seconds
        self._deliveries = deliveries.Bench(appliance, messages, [Kind.HEALTHY] * 20)
        self._rules = Rules(appliance.conninfo(OWNER), TENANT, appliance.rules_in_force)
        self._look = psycopg.connect(appliance.conninfo(INGEST), autocommit=True)

    def close(self) -> None:
        """End the connections."""
        self._deliveries.close()
        self._rules.close()
        self._look.close()

    def furnish(self) -> None:
        """Make devices, integrations and routes, and let every device be heard once."""
        self._deliveries.furnish()
        self.messages()

    def turn(self) -> Turn:
        """Measure each once."""
        delivery, alone = self.delivery(), self.messages()
        with self._rules.on():
            self._deliveries.stream(2 * DEVICES)
            while self._appliance.windows_filling():
                time.sleep(PAUSE_SECONDS)
            return Turn(delivery, alone, self.messages())

    def delivery(self) -> Delivery:
        """Return what a delivery costs beyond doing nothing."""
        idle = self._while(self._seconds / 2)
        with Worker("benchmarks.telling", self._deliveries.plan(), telling.Report) as teller:
            teller.go()
            time.sleep(LEAD_SECONDS)
            writers = [pid for (pid,) in self._look.execute(BACKENDS_OF, [telling.APPLICATION])]
            told, written = self._told(), self._appliance.cpu_of(writers)
            own, postgres = self._while(self._seconds)
            told, written = self._told() - told, self._appliance.cpu_of(writers) - written
            report = teller.run()
        each = self._seconds / told * MILLI
        events = report.events / report.seconds * self._seconds
        writing = written / self._seconds
        return Delivery(
            (own - idle[0]) * each,
            (postgres - idle[1] - writing) * each,
            written / events * MILLI,
            told / self._seconds,
            report.lost,
        )

    def messages(self) -> Message:
        """Return what a message costs."""
        _, own, postgres = self._deliveries.stream(self._messages)
        return Message(own / self._messages * MICRO, postgres / self._messages * MICRO)

    def _while(self, seconds: float) -> tuple[float, float]:
        """Return the CPU seconds a second of the appliance and of Postgres."""
        before = self._cpu()
        time.sleep(seconds)
        own, postgres = (late - early for early, late in zip(before, self._cpu(), strict=True))
        return own / seconds, postgres / seconds

    def _cpu(self) -> tuple[float, float]:
        return self._appliance.cpu(), self._appliance.cpu_of_children("postgres")

    def _told(self) -> int:
        [(told,)] = self._look.execute(TOLD).fetchall()
        return int(told)


def measure(folder: Path, *, turns: int, messages: int, seconds: float) -> list[Turn]:
    """Run the whole benchmark in the empty ``folder``."""
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(ApplianceProcess(folder, deliveries.SETTINGS))
        progress("start", appliance.start)
        bench = stack.enter_context(contextlib.closing(Bench(appliance, messages, seconds)))
        progress("integrations and devices", bench.furnish)
        return [progress(f"turn {number + 1} of {turns}", bench.turn) for number in range(turns)]


def lines(turns: Sequence[Turn]) -> list[Line]:
    """Return the table's lines."""
    delivery, alone, judged = ([getattr(turn, name) for turn in turns] for name in ("delivery", "alone", "judged"))
    return [
        line("a delivery, of the appliance, ms", [one.own for one in delivery], 2),
        line("a delivery, of Postgres, ms", [one.postgres for one in delivery], 2),
        line("an event of an alert with its jobs, of Postgres, ms", [one.event for one in delivery], 2),
        line("tries a second", [one.told for one in delivery], 1),
        line("notices that did not arrive in time", [one.late for one in delivery]),
        line("a message, of the appliance, us", [one.own for one in alone], 1),
        line("a message, of Postgres, us", [one.postgres for one in alone], 1),
        line("a message with 200 rules, of the appliance, us", [one.own for one in judged], 1),
        line("a message with 200 rules, of Postgres, us", [one.postgres for one in judged], 1),
    ]


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="rounds of each (3)")
    parser.add_argument("--messages", type=int, default=80_000, help="messages of a stream (80000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for which notices are told (20)")
    given = parser.parse_args()
    with servers_folder() as folder:
        turns = measure(folder, turns=given.turns, messages=given.messages, seconds=given.seconds)
    print(f"\n{table(lines(turns), head=('CPU time', 'median', 'range', ''))}\n")


if __name__ == "__main__":
    main()
