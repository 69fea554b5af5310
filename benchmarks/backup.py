"""Backups beside ingest: ``python -m benchmarks.backup``. Aims are printed, not asserted.

A private appliance with some million readings takes a steady stream of messages: first alone, then while backups are
made, one after the other, as a person or the night would. Measured are the time from publish to commit and that of the
transactions, each alone and beside a backup in the same run; and of the backups their speed and memory.
"""

import argparse
import contextlib
import logging
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import structlog

from appliance.db.roles import INGEST
from benchmarks import load
from benchmarks.appliance_process import ROOT, ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.measurements import Line, latencies, line, percentile, table
from benchmarks.messages import Stream
from benchmarks.storage import Ledger, enroll
from benchmarks.worker import Worker

DEVICES = 1_000
RATE = 2_000.0
"""Messages a second."""
ALONE_SECONDS = 15.0
LEDGER_PAUSE = 0.005
MILLI, MEGA = 1e3, 1e6
AIM = "< 200"
BUCKET = re.compile(r'^appliance_commit_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
FILL = """
INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
SELECT %(tenant)s, 'd' || n %% 1000, 'telemetry', at, n, at, false, false,
  jsonb_build_object('temperature', random() * 100, 'humidity', random() * 100, 'count', n)
FROM generate_series(1, %(rows)s) AS n, LATERAL (
  SELECT %(day)s::timestamptz + n * interval '86400 s' / (%(rows)s + 1) AS at) AS t
"""


@dataclass(frozen=True, slots=True)
class Backup:
    """When one began and ended, in seconds since 1970; its bytes, and the bytes of memory that it took at most."""

    began: float
    ended: float
    bytes: int
    memory: int


@dataclass(frozen=True, slots=True)
class Result:
    """The backups, the seconds from publish to commit, and those of the transactions: alone, and beside a backup."""

    backups: Sequence[Backup]
    alone: Sequence[float]
    beside: Sequence[float]
    commits_alone: float
    """The 95th percentile, as the upper bound of its bucket."""
    commits_beside: float


class Bench:
    """A started appliance with readings of a day that is over."""

    def __init__(self, appliance: ApplianceProcess, folder: Path, rows: int, seconds: float) -> None:
        self._appliance = appliance
        self._folder = folder
        self._rows = rows
        self._seconds = seconds
        self._device = appliance.claim_user()

    def furnish(self) -> None:
        """Make the devices and the readings."""
        conninfo = self._appliance.conninfo(INGEST)
        enroll(conninfo, self._device.username, DEVICES)
        day = datetime.now(UTC).date() - timedelta(days=2)
        with psycopg.connect(conninfo) as connection:
            given = {"tenant": self._device.username, "rows": self._rows, "day": day}
            connection.execute(FILL.encode(), given)

    def run(self) -> Result:
        """Send messages at a steady rate; after a while make backups for ``seconds``."""
        with contextlib.closing(Ledger(self._appliance.conninfo(INGEST))) as ledger:
            self._send(ledger, self._plan(DEVICES, rate=0.0))
            with ThreadPoolExecutor(1) as elsewhere:
                working = elsewhere.submit(self._back_up)
                published, waits = self._send(
                    ledger, self._plan(int(RATE * (ALONE_SECONDS + self._seconds)), rate=RATE)
                )
                backups, (before, between, after) = working.result()
        alone, beside = split(published, waits, backups)
        return Result(backups, alone, beside, quantile(before, between, 0.95), quantile(between, after, 0.95))

    def _plan(self, count: int, *, rate: float) -> load.Plan:
        running, device = self._appliance.running, self._device
        assert running is not None
        stream = Stream(device.username, DEVICES, count, time.time_ns() // 1_000_000)
        return load.Plan(running.mqtt_host, running.mqtt_port, stream, device.username, device.password, rate=rate)

    def _send(self, ledger: Ledger, plan: load.Plan) -> tuple[list[float], list[float]]:
        """Publish a stream; return the moments of its messages, and the seconds until each was committed."""
        received, _ = ledger.counts()
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            publisher.go()
            seen = ledger.until(received + plan.stream.count, LEDGER_PAUSE)
            published = publisher.report().published
        return published, latencies(published, [(moment, number - received) for moment, number in seen])

    def _back_up(self) -> tuple[list[Backup], tuple[Mapping[float, float], ...]]:
        """Make backups until the time is over; return them, and the metrics before, between and after."""
        before = self._commits()
        time.sleep(ALONE_SECONDS)
        between = self._commits()
        made: list[Backup] = []
        until = time.monotonic() + self._seconds - 5
        while not made or time.monotonic() < until:
            made.append(self._make(self._folder / f"{len(made)}.age"))
        return made, (before, between, self._commits())

    def _make(self, file: Path) -> Backup:
        config = self._folder / "appliance.toml"
        words = ["--config", str(config), "backup", str(file), "--passphrase-stdin"]
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance", *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(f"{secrets.token_hex(16)}\n".encode())
        process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the backup ended with {process.returncode}")
        size = file.stat().st_size
        file.unlink()
        return Backup(began, time.time(), size, used.ru_maxrss * 1024)

    def _commits(self) -> dict[float, float]:
        """Return how many transactions took at most so many seconds."""
        running = self._appliance.running
        assert running is not None
        with urllib.request.urlopen(f"{running.web_url}/metrics", timeout=30) as answer:
            return {float(bound): float(count) for bound, count in BUCKET.findall(answer.read().decode())}


def quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """Return the bound of the bucket in which that share of what was counted meanwhile lies."""
    counted = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = counted[max(counted)]
    return min(bound for bound, count in counted.items() if count >= share * total)


def split(
    published: Sequence[float], waits: Sequence[float], backups: Sequence[Backup]
) -> tuple[list[float], list[float]]:
    """Return the waits of messages before the first backup, and of those on their way during one."""
    first = min(one.began for one in backups)
    alone, beside = [], []
    for at, wait in zip(published, waits, strict=False):  # the last may not have been seen
        if at + wait < first:
            alone.append(wait)
        elif any(at < one.ended and at + wait > one.began for one in backups):
            beside.append(wait)
    return alone, beside


def lines(result: Result) -> list[Line]:
    """Return the table's lines, each with what is aimed at."""
    backups = result.backups
    found = [
        line("backup, s", [one.ended - one.began for one in backups], 1),
        line("backup, MB", [one.bytes / MEGA for one in backups], 1),
        line("memory of a backup, MB", [one.memory / MEGA for one in backups], 0, aim="< 100"),
    ]
    for name, waits in (("alone", result.alone), ("beside a backup", result.beside)):
        for share in (0.5, 0.95, 0.99):
            aim = AIM if share == 0.95 and waits is result.beside else ""
            value = f"{MILLI * percentile(waits, share):,.0f}"
            found.append(Line(f"publish to commit {name}, p{share * 100:.0f}, ms", value, aim=aim))
    found.append(Line("p95 of transactions alone, ms, at most", f"{MILLI * result.commits_alone:,.0f}"))
    found.append(Line("p95 of transactions meanwhile, ms, at most", f"{MILLI * result.commits_beside:,.0f}", aim=AIM))
    return found


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backup", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="readings in the database (2,000,000)")
    parser.add_argument("--seconds", type=float, default=40.0, help="seconds for which backups are made (40)")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with servers_folder() as folder, ApplianceProcess(folder) as appliance:
        progress("start", appliance.start)
        bench = Bench(appliance, folder, given.rows, given.seconds)
        progress(f"{given.rows:,} readings", bench.furnish)
        result = progress("messages, alone and beside backups", bench.run)
    print(f"\n{table(lines(result))}\n")


if __name__ == "__main__":
    main()
