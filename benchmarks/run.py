"""The benchmark: ``python -m benchmarks.run``. Ends within four minutes; aims are printed, not asserted.

A private appliance with its own Postgres and Mosquitto takes a stream of QoS 1 messages from a second process. In
the same run, in turn, ``mosquitto_sub`` takes the same stream from a broker of the same configuration (the broker's
limit), and bare COPY puts the same rows into a table like telemetry in the same server (the database's limit).
``rounds`` describes how each is measured. A table on the terminal, and JSON in ``benchmarks/results/``.
"""

import argparse
import contextlib
import datetime as dt
import time
from functools import partial
from pathlib import Path

import msgspec

from appliance.db.roles import INGEST
from benchmarks import surroundings
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.result import Pair, Result, report
from benchmarks.rounds import DEVICES, Bench
from benchmarks.storage import enroll
from benchmarks.subscriber import PROGRAM, PrivateBroker

RESULTS = Path(__file__).parent / "results"
MANY_DEVICES = 10_000
LATENCY_RATE = 2_000.0
BUDGET_SECONDS = 150.0
"""Seconds after which no further pair begins: the rest takes at most another minute."""


def measure(folder: Path, *, pairs: int, messages: int, latency_seconds: float, delay: float) -> Result:
    """Run the whole benchmark in the empty ``folder``."""
    begun = time.monotonic()
    machine = surroundings.machine()
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(ApplianceProcess(folder))
        cold = progress("first start", appliance.start)
        enroll(appliance.conninfo(INGEST), appliance.claim_user().username, MANY_DEVICES)
        appliance.stop()
        warm = progress("later start", appliance.start)
        rendered = appliance.data / "mosquitto"
        broker = stack.enter_context(PrivateBroker(folder / "broker", rendered, appliance.claim_user()))
        bench = stack.enter_context(Bench(appliance, broker, messages, delay))
        progress("warm-up", bench.warm_up)
        found: list[Pair] = []
        for number in range(pairs):
            if not found or time.monotonic() - begun < BUDGET_SECONDS:
                found.append(progress(f"pair {number + 1} of {pairs}", partial(bench.pair, number)))
        _, peak = appliance.memory()
        latency = progress("latency", lambda: bench.latency(LATENCY_RATE, latency_seconds))
        many = progress(f"{MANY_DEVICES:,} devices", lambda: bench.memory_with(MANY_DEVICES))
        judging = progress(f"{MANY_DEVICES:,} devices with rules", lambda: bench.memory_judging(MANY_DEVICES))
        versions = surroundings.versions(appliance.conninfo(INGEST), PROGRAM)
        stop = progress("stop", appliance.stop)
    return Result(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        machine=machine,
        commit=surroundings.commit(),
        versions=versions,
        messages=messages,
        devices=DEVICES,
        metrics=3,
        pairs=found,
        latency=latency,
        cold_start=cold,
        warm_start=warm,
        stop=stop,
        peak_memory=peak,
        many_devices=MANY_DEVICES,
        memory_many_devices=many,
        memory_judging=judging,
        seconds=time.monotonic() - begun,
    )


def main() -> None:
    """Measure, print, and write the results to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each (5)")
    parser.add_argument("--messages", type=int, default=80_000, help="messages of a round (80000)")
    parser.add_argument("--latency-seconds", type=float, default=15.0, help="length of the latency round (15)")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="seconds by which messages are old when they are sent (0)"
    )
    given = parser.parse_args()
    with servers_folder() as folder:
        result = measure(
            folder,
            pairs=given.pairs,
            messages=given.messages,
            latency_seconds=given.latency_seconds,
            delay=given.delay,
        )
    print(f"\n{report(result)}\n")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.date.replace(':', '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
