"""Alerts and their receivers: writes events of alerts at a steady rate, and notes when their notices arrive.

A process of its own: a ``Plan`` on standard input, ``ready`` once the receivers listen, ``go`` starts the alerts, a
second ``go`` ends them, and a ``Report`` comes when whatever the healthy receivers are owed has arrived. One clock
dates both: the moment after the commit of an event, and the last byte of its notice.
"""

import asyncio
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import StrEnum

import msgspec
import psycopg

APPLICATION = "telling"
"""The name by which Postgres knows who writes the events."""
ARRIVAL_SECONDS = 30.0
"""For what is still on its way at the end."""
TOGETHER = 5
"""Events in one transaction: a batch of messages writes all of its alerts in one statement."""
OPEN = """
WITH opened AS (
  INSERT INTO fleet_alert (tenant_id, device_id, alert_type, fingerprint, status, severity, summary, details,
    created_at, started_at, last_triggered_at, trigger_count, due_at, past)
  SELECT %(tenant)s, device, 'THRESHOLD', device, 'OPEN', 'high', 'temperature above 8',
    '{"metric": "temperature", "value": 9.5, "threshold": 8}', now(), now(), now(), 1, now(), false
  FROM unnest(%(devices)s::text[]) AS device
  RETURNING tenant_id, id, device_id
), told AS (
  INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, now(), 'opened' FROM opened
)
SELECT id, device_id FROM opened
"""
CLOSE = """
WITH closed AS (
  UPDATE fleet_alert SET status = 'CLOSED', closed_at = now(), close_reason = 'cleared'
  WHERE tenant_id = %(tenant)s AND id = ANY (%(alerts)s::bigint[]) RETURNING tenant_id, id)
INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, now(), 'closed' FROM closed
"""


class Kind(StrEnum):
    """How a receiver behaves."""

    HEALTHY = "healthy"
    HANGS = "hangs"
    FAILS = "fails"


class Plan(msgspec.Struct, frozen=True):
    """Receivers on 127.0.0.1, by number in the path; ``rate``: events a second, over all of them in turn."""

    conninfo: str
    tenant: str
    port: int
    kinds: list[Kind]
    rate: float
    open_seconds: float


class Report(msgspec.Struct, frozen=True):
    """``waits``: seconds from each commit to its notice, of healthy receivers; ``lost``: those that never came.

    ``events`` were written within ``seconds``, which took so many seconds of ``cpu``.
    """

    events: int
    seconds: float
    waits: list[float]
    repeated: int
    lost: int
    cpu: float


def prefix(receiver: int) -> str:
    """Return how the ids of devices begin whose alerts go to a receiver."""
    return f"told-{receiver:02d}-"


class Telling:
    """What was committed, and what arrived: by alert and event."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.committed: dict[tuple[int, str], float] = {}
        self.arrived: dict[tuple[int, str], float] = {}
        self.events = 0
        self.seconds = 0.0
        self.repeated = 0
        self.ended = threading.Event()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, as its receiver does."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
            body = await reader.readexactly(length)
            kind = self._plan.kinds[int(lines[0].split(" ")[1].rpartition("/")[2])]
            if kind is Kind.HANGS:
                await reader.read()
            elif kind is Kind.FAILS:
                writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                self._note(body)
                writer.write(b"HTTP/1.1 204 Thanks\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, EOFError):
            pass  # the appliance has hung up
        finally:
            writer.close()

    def _note(self, body: bytes) -> None:
        at, notice = time.time(), msgspec.json.decode(body)
        key = (notice["data"]["alert"]["alert_id"], notice["type"].rpartition(".")[2])
        if key in self.arrived:
            self.repeated += 1
        self.arrived.setdefault(key, at)

    def write(self) -> None:
        """Open alerts and close each after a while, a few in one transaction; at the end, close those that are open."""
        plan, standing = self._plan, deque[list[tuple[int, int]]]()
        most, opened, began = plan.open_seconds * plan.rate / (2 * TOGETHER), 0, time.monotonic()
        with psycopg.connect(plan.conninfo, autocommit=True, prepare_threshold=0) as connection:
            while not self.ended.is_set() or standing:
                if len(standing) > most or self.ended.is_set():
                    alerts = standing.popleft()
                    ids = [alert for alert, _ in alerts]
                    connection.execute(CLOSE, {"tenant": plan.tenant, "alerts": ids})
                    self._note_committed(alerts, "closed")
                else:
                    numbers = range(opened, opened + TOGETHER)
                    receivers = {
                        f"{prefix(one % len(plan.kinds))}{one}-{began}": one % len(plan.kinds) for one in numbers
                    }
                    rows = connection.execute(OPEN, {"tenant": plan.tenant, "devices": list(receivers)}).fetchall()
                    standing.append([(alert, receivers[device]) for alert, device in rows])
                    self._note_committed(standing[-1], "opened")
                    opened += TOGETHER
                time.sleep(max(0.0, began + self.events / plan.rate - time.monotonic()))
                self.seconds = time.monotonic() - began

    def _note_committed(self, alerts: Sequence[tuple[int, int]], event: str) -> None:
        at = time.time()
        self.events += len(alerts)
        for alert, receiver in alerts:
            if self._plan.kinds[receiver] is Kind.HEALTHY:
                self.committed[alert, event] = at

    def report(self, cpu: float) -> Report:
        """Return what has come of it."""
        waits = [self.arrived[key] - at for key, at in self.committed.items() if key in self.arrived]
        return Report(self.events, self.seconds, waits, self.repeated, len(self.committed) - len(waits), cpu)


async def run(plan: Plan) -> None:
    """Serve, tell, and report."""
    telling = Telling(plan)
    server = await asyncio.start_server(telling.receive, "127.0.0.1", plan.port)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before = resource.getrusage(resource.RUSAGE_SELF)
    writing = asyncio.create_task(asyncio.to_thread(telling.write))
    await asyncio.to_thread(sys.stdin.readline)
    after = resource.getrusage(resource.RUSAGE_SELF)
    telling.ended.set()
    await writing
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while telling.committed.keys() - telling.arrived.keys() and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(msgspec.json.encode(telling.report(cpu)).decode(), flush=True)
    server.close()
    os._exit(0)  # some requests are never answered, and wait


def main() -> None:
    """Read the plan and run it."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    asyncio.run(run(plan))


if __name__ == "__main__":
    main()
