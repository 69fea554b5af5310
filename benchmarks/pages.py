"""The pages under load: ``python -m benchmarks.pages``. Nothing is asserted; the aims are printed beside.

A private appliance holds 10,000 devices, 1,000,000 readings, 100,000 rows of quarantine and a year of roll-ups, and
takes 1,000 messages a second all the while. Each page is asked for again and again over one connection, one at a time,
from this machine: what is measured is the time of the server, from the request to the last byte of the answer, the
load, the broker and Postgres being on the same cores. List pages are asked for by an admin of the tenant, behind
row-level security, and what only operators see by an operator.
"""

import argparse
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from appliance.db.roles import INGEST, OWNER
from appliance.web.http.cookies import SESSION
from benchmarks import load
from benchmarks.appliance_process import TENANT, ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.dataset import BUSY, Visitor, furnish, visitor
from benchmarks.measurements import Line, percentile, table
from benchmarks.messages import Stream
from benchmarks.worker import Worker

RATE = 1_000.0
"""Messages a second that come in meanwhile."""
TALKING = 1_000
"""Devices that send them."""
LONGEST = 600
"""Seconds that the load lasts at most."""
WARM_UP = 3
"""Answers of each page that do not count: statements are prepared, caches filled."""
PAGE_AIM, YEAR_AIM = 150, 100
"""Milliseconds, for 95 of 100 answers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An address, the role that requests it, and how long it may take (milliseconds)."""

    path: str
    operator: bool = False
    aim: int = PAGE_AIM


PAGES: Sequence[Asked] = (
    Asked("/"),
    Asked("/devices"),
    Asked("/devices?presence=OFFLINE"),
    Asked("/devices?q=bench-0123"),
    Asked("/devices?sort=last_seen&down=1"),
    Asked(f"/devices/{BUSY}"),
    Asked(f"/devices/{BUSY}?range=1y"),
    Asked(f"/devices/{BUSY}/messages"),
    Asked("/sites"),
    Asked("/metric-names"),
    Asked("/quarantine"),
    Asked("/quarantine?reason=INVALID_JSON"),
    Asked("/audit"),
    Asked("/users"),
    Asked("/profile"),
    Asked("/tenants", operator=True),
    Asked("/system", operator=True),
    Asked("/customer/devices?limit=50"),
    Asked("/customer/quarantine?limit=50"),
    Asked(f"/customer/devices/{BUSY}/telemetry?metric=temperature"),
    Asked(f"/customer/devices/{BUSY}/telemetry?metric=temperature&range=1y", aim=YEAR_AIM),
)


def measure(folder: Path, *, answers: int, only: str) -> list[Line]:
    """Run the whole benchmark in the empty ``folder``, for addresses that contain ``only``."""
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(ApplianceProcess(folder))
        progress("start", appliance.start)
        device = appliance.claim_user()
        conninfo = appliance.conninfo(INGEST)
        progress(
            "10,000 devices, 1,000,000 readings", lambda: furnish(conninfo, appliance.conninfo(OWNER), device.username)
        )
        admin, operator = visitor(conninfo, "admin", TENANT), visitor(conninfo, "operator", None)
        running = appliance.running
        assert running is not None
        stream = Stream(device.username, TALKING, int(RATE * LONGEST), time.time_ns() // 1_000_000)
        plan = load.Plan(running.mqtt_host, running.mqtt_port, stream, device.username, device.password, rate=RATE)
        publisher = stack.enter_context(Worker("benchmarks.load", plan, load.Report))
        publisher.go()
        clients = {False: stack.enter_context(client(running.web_url, admin))}
        clients[True] = stack.enter_context(client(running.web_url, operator))
        return [
            progress(asked.path, partial(line, clients[asked.operator], asked, answers))
            for asked in PAGES
            if only in asked.path
        ]


def client(url: str, who: Visitor) -> httpx.Client:
    """Return a signed-in HTTP client."""
    return httpx.Client(base_url=url, headers={"Cookie": f"{SESSION.name}={who.secret}"}, timeout=30)


def line(http: httpx.Client, asked: Asked, answers: int) -> Line:
    """Return a line of the table: the time within which 95 of 100 answers came."""
    taken = []
    for number in range(answers + WARM_UP):
        started = time.perf_counter()
        answer = http.get(asked.path)
        if answer.status_code != httpx.codes.OK:
            return Line(asked.path, f"({answer.status_code})", "", f"< {asked.aim}")
        if number >= WARM_UP:
            taken.append((time.perf_counter() - started) * 1000)
    p50, p95 = percentile(taken, 0.5), percentile(taken, 0.95)
    return Line(asked.path, f"{p95:,.0f}", f"{p50:,.0f} .. {max(taken):,.0f}", f"< {asked.aim}")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--answers", type=int, default=40, help="answers of each page (40)")
    parser.add_argument("--only", default="", help="only addresses that contain this")
    given = parser.parse_args()
    with servers_folder() as folder:
        lines = measure(folder, answers=given.answers, only=given.only)
    print(f"\n{table(lines, head=('milliseconds of server time', 'p95', 'median .. most', 'aim'))}\n")


if __name__ == "__main__":
    main()
