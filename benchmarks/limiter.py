"""What a million distinct device ids cost the rate limiter: memory, pauses, time a message.

``python -m benchmarks.limiter``. Memory is what the process has resident and, in a run of its own that is not timed,
what was asked for (tracemalloc). Pauses are turns of the event loop: one task sends ids through the limiter, 512 at a
time, then the janitor passes, and another task measures how long it waits: on the wall clock and in CPU time of this
thread. What the first has more was spent by other processes of the machine.
"""

import gc
import sys
import time
import timeit
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from appliance.clock import SystemClock
from appliance.ingest.limits.janitor import Janitor
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import bucket_key
from tests.support.limiter import limiter_of

IDS = 1_000_000
BATCH = 512
TTL = 0.001
"""So that the janitor may clear everything at once; nothing else depends on it."""
MIB = 1024 * 1024


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def traced() -> float:
    """Memory asked for since tracemalloc started, in MiB."""
    return tracemalloc.get_traced_memory()[0] / MIB


class Pauses:
    """The longest time that the loop kept a ready task waiting, in milliseconds."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    def __str__(self) -> str:
        return f"{self.wall:.2f} ms (CPU {self.cpu:.2f} ms)"

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await trio.lowlevel.checkpoint()
            self.wall = max(self.wall, 1000 * (time.perf_counter() - wall))
            self.cpu = max(self.cpu, 1000 * (time.thread_time() - cpu))

    async def during(self, work: Callable[[], Awaitable[object]]) -> None:
        """Measure while ``work`` goes on."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            await work()
            nursery.cancel_scope.cancel()


async def flood(limiter: Limiter) -> None:
    """Every id once, in batches that have one time each, as the pipeline does."""
    for start in range(0, IDS, BATCH):
        now = time.monotonic()
        for number in range(start, min(start + BATCH, IDS)):
            limiter.take(bucket_key("bench", f"device-{number:07}"), now)
        await trio.lowlevel.checkpoint()


async def run(title: str, bound: int, memory: Callable[[], float], *, timed: bool = True) -> None:
    """A flood and a pass of the janitor, and a line about them."""
    limiter = limiter_of(bucket_ttl=TTL, max_tracked_devices=bound)
    janitor = Janitor(limiter, SystemClock(), interval=300, report=lambda _cleared, _left: None, resting=lambda: False)
    gc.collect()
    before = memory()
    flooding, sweeping = Pauses(), Pauses()
    await flooding.during(lambda: flood(limiter))
    full, tracked = memory(), limiter.tracked
    await trio.sleep(0.2)  # until the last bucket is full again
    await sweeping.during(janitor.sweep)
    after = memory()
    print(f"{title}: {IDS:,} ids, {tracked:,} buckets, {limiter.tracked} after the janitor")
    print(f"  MiB before {before:.1f}, full {full:.1f}, after the janitor {after:.1f}")
    if timed:
        print(f"  longest pause of the loop: flood {flooding}, janitor {sweeping}")


def nanoseconds_a_take(*, tenant_rate: float = 0) -> float:
    """For devices that have a bucket, 1,000 of them in turn, one time a batch."""
    limiter = limiter_of(rate=1e8, burst=1_000_000, tenant_rate=tenant_rate)
    keys = [bucket_key("bench", f"device-{number}") for number in range(1000)]
    clock = iter(range(sys.maxsize))

    def batch() -> None:
        now, take = float(next(clock)), limiter.take
        for key in keys:
            take(key, now)

    return min(timeit.repeat(batch, number=100, repeat=20)) / 100 / len(keys) * 1e9


def main() -> None:
    """Print the lines."""
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    plain, limited = nanoseconds_a_take(), nanoseconds_a_take(tenant_rate=1e8)
    print(f"take, known device: {plain:.0f} ns; with a tenant limit: {limited:.0f} ns")
    trio.run(partial(run, "resident", IDS, resident))
    trio.run(partial(run, "resident", 200_000, resident))
    tracemalloc.start()
    trio.run(partial(run, "asked for", IDS, traced, timed=False))


if __name__ == "__main__":
    main()
