"""Serve a dashboard in a process of its own for a browser; it takes orders as lines on its standard input.

Playwright's synchronous API runs an event loop of its own in the test's thread, so the dashboard cannot be there too.
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import psycopg
import trio

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.broker.accounts import device_user
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.broker.takeover import SharedClientId
from appliance.clock import SystemClock
from appliance.db.changes import Changes
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import connect
from appliance.diagnostics.process_metrics import Disk, ProcessMetrics
from appliance.diagnostics.snapshot import Snapshot
from appliance.ingest.summary import BatchSummary, LastReading
from appliance.ingest.telemetry.budget import BudgetState, Limit, Source, Usage
from appliance.metrics import Metrics
from appliance.reading import Kind
from appliance.web.access.auth import READERS, SIGN_IN_PAGES, allow
from appliance.web.app import Dashboard
from appliance.web.devices.port import ListenerAddress
from appliance.web.http.server import serve
from appliance.web.live.feed import LiveFeed
from tests.support.certificates import Authority
from tests.support.web.demo_fixture import TENANT
from tests.support.web.parts import parts
from tests.support.web.serving import dashboard
from tests.support.web.stand_ins import GB, Always, quiet_system
from tests.support.web.tls import DemoCertificates, FileCertificates

TOLD_DEVICE = "BGO-FRZ-064"
"""The device of the demo whose page says that another client uses its client id."""


def publish(feed: LiveFeed, device: str, metrics: dict[str, float]) -> None:
    """A committed batch with one reading."""
    now = SystemClock().now()
    reading = LastReading("acme", device, now, now, Kind.TELEMETRY, metrics)
    feed.publish(BatchSummary(now, 1, 1, 0, 0, 0, {}, [reading]))


def let_it_fail(app: Dashboard) -> None:
    """Pages that cannot be had: by a fault, and, for ever or a few times, without Postgres.

    Without Postgres nobody can be recognised either.
    """

    @app.get(f"/+fails/{HTTPStatus.INTERNAL_SERVER_ERROR.value}")
    @allow(READERS)
    async def fault() -> NoReturn:
        raise RuntimeError("a page that fails, for its look")

    asked: Counter[int] = Counter()

    @app.get(f"/+fails/{HTTPStatus.SERVICE_UNAVAILABLE.value}", defaults={"times": None})
    @app.get(f"/+fails/{HTTPStatus.SERVICE_UNAVAILABLE.value}/<int:times>")
    @allow(SIGN_IN_PAGES)
    async def away(times: int | None) -> str:
        if times is None or asked[times] < times:
            asked[times or 0] += 1
            raise psycopg.OperationalError("Postgres is away, for the look of it")
        return "It is back."


def shared_client_ids() -> list[SharedClientId]:
    """A client id that two tenants use, and one whose thief is shut out."""
    now, owner = SystemClock().now(), device_user(TENANT, TOLD_DEVICE)
    return [
        SharedClientId("esp32-3C71BF", (owner, "fjordfisk/device/esp32"), now - 90, 4_211, True, None),
        SharedClientId(owner, (owner, "fjordfisk"), now - 700, 3, True, now + 300),
    ]


def refused_by_broker(tenant_id: str | None, device_id: str | None) -> list[BrokerRefusal]:
    """What the broker refused: a topic, a sign-in, and the client id of a device that another tenant uses."""
    now, user = SystemClock().now(), device_user(TENANT, TOLD_DEVICE)
    seen = [
        BrokerRefusal(RefusalCause.CLIENT_ID, now - 90, "10.20.0.41", "esp32-3C71BF", user, times=4_211),
        BrokerRefusal(RefusalCause.TOPIC, now - 600, "10.20.0.41", "esp32-3C71BF", user, f"tenants/{user}/x", 12),
        BrokerRefusal(RefusalCause.SIGN_IN, now - 900, "10.20.0.77", times=3),
    ]
    return [one for one in seen if tenant_id in (None, one.tenant_id) and device_id in (None, one.device_id)]


def served_under_tls(folder: Path) -> FileCertificates:
    """Return certificates of a CA of their own, which is put into a folder."""
    authority = Authority()
    (folder / "ca.crt").write_text(authority.pem)
    return FileCertificates(authority, folder)


def crowded() -> Snapshot:
    """A process whose data folder takes more than it may, while no day of readings can go."""
    quiet = quiet_system(SystemClock())
    process = ProcessMetrics(Metrics(), SystemClock(), Path.cwd(), queue=lambda: 0, each_second=lambda _now: None)
    process.disk = Disk(32 * GB, 9 * GB, 2 * GB, GB // 2, GB // 4, GB // 8, GB // 16)
    limit = Limit(2 * GB, Source.MAX_BYTES)
    budget = BudgetState(Usage(5 * GB // 2, 32 * GB, 9 * GB, 3 * GB), limit, exhausted=True)
    return replace(quiet, shared_client_ids=shared_client_ids, process=process, budget=lambda: budget)


async def main(port: int, conninfo: str, customers: str, tls: str) -> None:
    """Print the port once serving, then publish each line: ``{"device": ..., "metrics": {...}}``.

    With ``customers``, a connection string of ``appliance_web``, people are who they are; with an empty one, everybody
    is an operator. ``tls``: the folder into which the CA of a dashboard under TLS is put, or empty. The certificate is
    exchanged when an order says ``{"renew": true}``.
    """
    certificates = served_under_tls(Path(tls)) if tls else None
    feed = LiveFeed(SystemClock())
    done = trio.Event()
    async with (
        open_pool(conninfo, name="ingest", min_size=1, max_size=4, timeout=20) as pool,
        open_pool(customers or conninfo, name="web", min_size=1, max_size=4, timeout=20) as web_pool,
        trio.open_nursery() as nursery,
    ):
        identity = None if customers else Always()
        app = dashboard(
            parts(pool, web_pool=web_pool, live=feed, identity=identity).having(
                snapshot=crowded(),
                broker_refusals=refused_by_broker,
                certificates=certificates or DemoCertificates(),
                listener=ListenerAddress(None, 8883, " --cafile ca.crt", " --cacert ca.crt"),
            )
        )
        let_it_fail(app)
        changes = Changes(partial(connect, conninfo), [ALERTS_CHANNEL])
        changes.subscribe(ALERTS_CHANNEL, app.alerts_changed, app.alerts_changed)
        await nursery.start(changes.run)

        async def run(task_status: trio.TaskStatus[int]) -> None:
            await serve(app, "127.0.0.1", port, shutdown_trigger=done.wait, task_status=task_status)

        print(await nursery.start(run), flush=True)  # noqa: T201 - what the test waits for
        async for line in trio.wrap_file(sys.stdin):
            order = json.loads(line)
            if "renew" in order:
                assert certificates is not None
                certificates.renew()
                continue
            publish(feed, order["device"], order["metrics"])
        done.set()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
