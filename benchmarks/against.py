"""This checkout against an older one: ``python -m benchmarks.against CHECKOUT``. Both at the same time, turn by turn.

A machine is never twice the same: its rates differ by a tenth from minute to minute, and so do two starts of one
program. So both appliances are started anew for each turn and run side by side, the idle one costs nothing; they take
rounds of messages by turns, and what counts is the ratio of the medians of a turn, and the median over all turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "benchmarks" / "rounds_on_demand.py"
TURNS = 10
ROUNDS = 6
MESSAGES = 80_000


@dataclass(frozen=True, slots=True)
class Round:
    """Committed messages a second, and the CPU microseconds a message of the appliance."""

    rate: float
    cpu: float


class Side:
    """The appliance of one checkout, which takes rounds of messages when it is told to."""

    def __init__(self, checkout: Path, messages: int) -> None:
        self.checkout = checkout
        self.found: list[Round] = []
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(messages)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        try:
            self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()  # the end of its input ends it

    def play(self) -> None:
        """Take one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        rate, cpu = map(float, self._answer().split())
        self.found.append(Round(rate, cpu))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the appliance of {self.checkout} ended; does `make bench` work there?")
        return line


def turn(older: Path, messages: int, rounds: int, *, first: int) -> tuple[list[Round], list[Round]]:
    """Start both anew, and return their rounds, the older ones first. ``first``: 0 or 1, who begins."""
    with Side(older, messages) as before, Side(ROOT, messages) as after:
        sides = (before, after)
        for number in range(rounds):
            sides[(first + number) % 2].play()
            sides[(first + number + 1) % 2].play()
        return before.found, after.found


def medians(found: Sequence[Round]) -> Round:
    """Return the medians of some rounds."""
    return Round(statistics.median(one.rate for one in found), statistics.median(one.cpu for one in found))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="the older checkout, with its requirements in this environment")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"starts of both ({TURNS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each in a turn ({ROUNDS})")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"messages of a round ({MESSAGES})")
    given = parser.parse_args()
    ratios: list[Round] = []
    print("turn   before      now  messages/s    ratio      CPU us a message    ratio")
    for number in range(given.turns):
        before, now = map(medians, turn(given.checkout.resolve(), given.messages, given.rounds, first=number % 2))
        ratios.append(Round(now.rate / before.rate, now.cpu / before.cpu))
        print(
            f"{number + 1:4} {before.rate:8,.0f} {now.rate:8,.0f} {ratios[-1].rate:20.2f}"
            f" {before.cpu:11.1f} {now.cpu:6.1f} {ratios[-1].cpu:10.2f}",
            flush=True,
        )
    middle = medians(ratios)
    print(f"median of {given.turns} turns: rate {middle.rate:.2f} (aim 0.98), CPU {middle.cpu:.2f} (aim at most 1.02)")


if __name__ == "__main__":
    main()
