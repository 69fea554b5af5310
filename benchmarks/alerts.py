"""From a device's message to its alert on an open page: ``python -m benchmarks.alerts``. Nothing is asserted.

A private appliance takes 500 messages a second. A page of alerts is open in Chromium, signed in as a responder. Every
now and then a further device publishes a reading above the limit of a rule; the page notes when it shows that alert
(the count of new alerts). All clocks are this machine's; appliance, broker, Postgres, load and browser share its cores.
"""

import argparse
import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from playwright.sync_api import Page, sync_playwright

from appliance.db.roles import INGEST
from appliance.web.http.cookies import SESSION
from benchmarks import load
from benchmarks.appliance_process import TENANT, ApplianceProcess
from benchmarks.command import progress, servers_folder
from benchmarks.dataset import visitor
from benchmarks.measurements import Line, latencies, percentile, table
from benchmarks.messages import Stream, publish_packet, topic, topic_head
from benchmarks.storage import enroll
from benchmarks.worker import Worker

RATE = 500.0
"""Messages a second that come in meanwhile."""
TALKING = 500
"""Devices that send them."""
GAP_SECONDS = 0.35
"""Between two alerts: not a divisor of a second, so that they fall on all moments of the page's own periods."""
SHOWN_SECONDS = 10.0
"""After the last alert, for the page to show it."""
AIM = 500
"""Milliseconds, for 95 of 100 alerts."""
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
RULE = """
INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, created_at, updated_at)
VALUES (%s, 'Spike', 'high', 'threshold', '{"metric": "spike", "operator": "GT", "value": 1}', now(), now())
"""
OBSERVE = """
() => {
  window.seen = [];
  const look = () => {
    const found = /(\\d+) new/.exec(document.getElementById("alert-news").textContent);
    const count = found === null ? 0 : Number(found[1]);
    const last = window.seen.at(-1);
    if (last === undefined || last[1] !== count) window.seen.push([Date.now() / 1000, count]);
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}
"""


def measure(folder: Path, *, alerts: int) -> list[Line]:
    """Run the whole benchmark in the empty ``folder``."""
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(ApplianceProcess(folder))
        progress("start", appliance.start)
        user = appliance.claim_user()
        conninfo = appliance.conninfo(INGEST)
        enroll(conninfo, user.username, TALKING + alerts)
        with psycopg.connect(conninfo) as connection:
            connection.execute(RULE, [TENANT])
        running = appliance.running
        assert running is not None
        count = int(RATE * (alerts * GAP_SECONDS + SHOWN_SECONDS))
        stream = Stream(user.username, TALKING, count, time.time_ns() // 1_000_000)
        plan = load.Plan(running.mqtt_host, running.mqtt_port, stream, user.username, user.password, rate=RATE)
        device = stack.enter_context(load.connect(plan, "alerts"))
        page = stack.enter_context(open_page(running.web_url, visitor(conninfo, "responder", TENANT).secret))
        publisher = stack.enter_context(Worker("benchmarks.load", plan, load.Report))
        publisher.go()

        def breach() -> list[float]:
            published = []
            for number in range(TALKING, TALKING + alerts):
                page.wait_for_timeout(GAP_SECONDS * 1000)
                head = topic_head(topic(user.username, number))
                published.append(time.time())
                device.sendall(publish_packet(head, number, b'{"spike":2}'))
            page.wait_for_timeout(SHOWN_SECONDS * 1000)
            return published

        published = progress(f"{alerts} alerts", breach)
        seen = page.evaluate("() => window.seen")
    waits = [1000 * wait for wait in latencies(published, [(at, min(shown, alerts)) for at, shown in seen])]
    if len(waits) < alerts:
        raise SystemExit(f"the page showed {len(waits)} of {alerts} alerts")
    p50, p95, highest = (f"{percentile(waits, share):.0f}" for share in (0.5, 0.95, 1))
    return [Line(f"publish to alert on the page, {alerts} alerts", p95, f"{p50} .. {highest}", f"< {AIM}")]


@contextlib.contextmanager
def open_page(url: str, secret: str) -> Iterator[Page]:
    """Open the list of alerts under a session, and let the page note what it shows."""
    with sync_playwright() as program:
        path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = program.chromium.launch(executable_path=path, args=list(CHROMIUM))
        context = browser.new_context()
        context.add_cookies([{"name": SESSION.name, "value": secret, "url": url}])
        page = context.new_page()
        page.goto(f"{url}/alerts")
        page.evaluate(OBSERVE)
        yield page
        browser.close()


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts", description=__doc__)
    parser.add_argument("--alerts", type=int, default=200, help="how many (200)")
    given = parser.parse_args()
    with servers_folder() as folder:
        lines = measure(folder, alerts=given.alerts)
    print(f"\n{table(lines, head=('milliseconds', 'p95', 'median .. most', 'aim'))}\n")


if __name__ == "__main__":
    main()
