"""A device of 10 a second that was silent for 24 hours sends its backlog as fast as it can, in every way there is."""

import time
from collections.abc import Iterator

import trio

from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.http_caller import Caller
from tests.support.publisher import TENANT, client, ledger_sums

SILENT_SECONDS = 86_400
RATE = 10
BACKLOG = soak.times(SILENT_SECONDS * RATE // 10) // 3 * 3
"""Readings; the long version sends all that the device owes, the short one a tenth of them."""
BODY = 1000
"""Messages of an HTTP body, the most that one holds."""
WINDOW = 500
"""Messages that the device sends before it waits for the broker's acknowledgements: many times what clients allow
themselves. One without a window can outrun any appliance, and then fills the broker's queue."""
LIVE_EVERY = 0.2
LATENCY_SECONDS = 2.0

REGISTER = """
INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, created_at, updated_at)
SELECT tenant_id, %s, 'ACTIVE', subscription_id, created_at, created_at
FROM (SELECT tenant_id, subscription_id, to_timestamp(%s) AS created_at FROM subscriptions WHERE tenant_id = %s) AS s
RETURNING 1
"""


class Backlog:
    """The readings that the device kept while it was silent, each handed out once."""

    def __init__(self, now: float) -> None:
        self._first = round(1000 * (now - SILENT_SECONDS)) + 60_000
        self._step = 1000 * (SILENT_SECONDS - 60) / BACKLOG
        self._next = 0

    def take(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` of them, oldest first."""
        for number in range(self._next, self._next + count):
            yield b'{"ts":%d,"seq":%d,"temperature":21.5}' % (self._first + round(number * self._step), number)
        self._next += count


async def publish(appliance: ApplianceProcess, backlog: Backlog, topic: str, count: int) -> None:
    async with client(appliance, "backlog") as device:
        for start in range(0, count, WINDOW):
            await device.publish_many((topic, payload) for payload in backlog.take(min(WINDOW, count - start)))


async def post(http: Caller, backlog: Backlog, path: str, count: int, *, lines: bool) -> None:
    for start in range(0, count, BODY):
        payloads = list(backlog.take(min(BODY, count - start)))
        body = b"\n".join(payloads) if lines else b"[%b]" % b",".join(payloads)
        kind = "application/x-ndjson" if lines else "application/json"
        answer = await http.post(path, body, {"Content-Type": kind})
        assert (answer.status, answer.json()) == (202, {"accepted": len(payloads), "duplicate": 0, "refused": []})


async def live(appliance: ApplianceProcess, device_id: str, every: float, sent: list[float]) -> None:
    """Send live readings of a device; ``sent`` has the time of each, which is also its own time."""
    async with client(appliance, f"live-{device_id}") as device:
        while True:
            sent.append(time.time())
            payload = b'{"ts":%d,"live":true}' % round(1000 * sent[-1])
            await device.publish(f"tenant/{TENANT}/device/{device_id}/telemetry", payload)
            await trio.sleep(every)


async def test_a_device_that_was_silent_for_a_day_sends_its_backlog_as_fast_as_it_can(
    appliance: ApplianceProcess,
) -> None:
    appliance.settings |= {"APPLIANCE_LIMITS_RATE": str(RATE), "APPLIANCE_LIMITS_BURST": "50"}
    appliance.start()
    user = await trio.to_thread.run_sync(appliance.tenant)
    for device_id in ("away", "other"):
        appliance.query(REGISTER, device_id, time.time() - 2 * SILENT_SECONDS, TENANT)
    http, path = Caller(appliance, user["password"]), f"/ingest/tenant/{TENANT}/device/away/telemetry"
    backlog = Backlog(time.time())
    own: list[float] = []
    others: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, appliance, "away", 1 / RATE, own)
        nursery.start_soon(live, appliance, "other", LIVE_EVERY, others)
        await publish(appliance, backlog, path.removeprefix("/ingest/"), BACKLOG // 3)
        await post(http, backlog, path, BACKLOG // 3, lines=False)
        await post(http, backlog, path, BACKLOG // 3, lines=True)
        nursery.cancel_scope.cancel()
    expected = BACKLOG + len(own) + len(others)
    with trio.fail_after(60):
        while ledger_sums(appliance)["received"] < expected - 2:  # what was cut off in the middle may never have left
            await trio.sleep(0.2)
    sums = ledger_sums(appliance)
    assert (sums["refused"], sums["duplicate"], sums["stored"]) == (0, 0, sums["received"])
    assert appliance.query("SELECT count(DISTINCT seq) FROM telemetry WHERE device_id = 'away'") == [(BACKLOG,)]
    dropped = [line for line in appliance.get("/metrics").decode().splitlines() if "broker_dropped_messages" in line]
    assert [line.split()[-1] for line in dropped if not line.startswith("#")] in (["0.0"], [])
    [(latency,)] = appliance.query(
        "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM received_at - ts)::float8)"
        " FROM telemetry WHERE device_id = 'other'"
    )
    if soak.LONG:  # a figure of an idle machine
        assert latency < LATENCY_SECONDS
