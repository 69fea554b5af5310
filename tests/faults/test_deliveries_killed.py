"""Couriers in processes: killed between the answer of a receiver and its record, and two at a time."""

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from appliance.failpoints import VARIABLE
from tests.faults.courier_worker import LEASE_SECONDS, SENDS
from tests.support import fork_server, soak
from tests.support.alerts import add_alerts
from tests.support.couriers import rows
from tests.support.fork_server import Forked
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

KILLS = soak.times(3)
ALERTS = soak.times(12)
DELIVERIES = soak.times(120)
RECEIVERS = ["hangs"] * 3 + ["fails"] * 2 + ["webhook"] * 15
MANY = 250 if soak.LONG else 15
"""Alerts for each of them, and twice as many deliveries: 10,000 in the long version."""
KILLS_OF_MANY = 10 if soak.LONG else 2
FAST = 20_000.0
PATIENCE_SECONDS = soak.times(60)


@contextmanager
def worker(
    database: Database, instance: str = "one", failpoint: str | None = None, speed: float = 1
) -> Iterator[Forked]:
    """Run a process that delivers; killed at the end of the block."""
    environ = os.environ if failpoint is None else {**os.environ, VARIABLE: failpoint}
    arguments = [str(database.server.socket_dir), database.name, instance, str(speed)]
    process = fork_server.programs().start_silent("tests.faults.courier_worker", arguments, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def receive(database: Database, name: str, kind: str = "webhook", concurrency: int = 2) -> None:
    """Write an integration with a receiver of this kind, and a route that takes what is of its name's site."""
    config = f'{{"name": "{name}"}}'
    integration_id = add_integration(database, type=kind, config=config, concurrency=concurrency, name=name)
    add_route(database, integration_id, burst=0, site_ids=[name])


def open_alerts(database: Database, name: str, number: int) -> list[int]:
    return add_alerts(database, number, created_at=datetime.now(UTC), site_id=name)


def close_all(database: Database) -> None:
    now = datetime.now(UTC)
    rows(
        database,
        "WITH closed AS (UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = 'cleared'"
        " RETURNING tenant_id, id)"
        " INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, %s, 'closed' FROM closed",
        now,
        now,
    )


def wait_for(database: Database, query: str, *, process: Forked | None = None) -> None:
    """Return once the query finds nothing, or the process has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while rows(database, query) and (process is None or process.poll() is None):
        assert time.monotonic() < deadline, rows(
            database, "SELECT event, status, reason, count(*) FROM delivery_jobs GROUP BY 1, 2, 3"
        )
        time.sleep(0.05)


NOT_BOTH_LISTEN = (
    "SELECT 1 WHERE (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND query LIKE 'LISTEN%') < 2"
)
HEALTHY_UNFINISHED = (
    "SELECT 1 FROM delivery_jobs AS j JOIN integrations AS i USING (tenant_id, integration_id)"
    " WHERE j.status IN ('PENDING', 'PROCESSING') AND i.type = 'webhook' LIMIT 1"
)
UNFINISHED = "SELECT 1 FROM delivery_jobs WHERE status IN ('PENDING', 'PROCESSING') LIMIT 1"


@pytest.fixture
def log(database: Database) -> Database:
    """Return a database in which receivers write down what they get."""
    rows(database, SENDS)
    return database


def test_killed_before_the_answer_is_written_down_it_is_sent_again_with_the_same_id(log: Database) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    receive(log, "hub", concurrency=1)
    alerts = open_alerts(log, "hub", ALERTS)
    for _ in range(KILLS):
        with worker(log, failpoint=f"before_delivery_settled:{chance.randrange(1, 4)}") as process:
            process.wait(PATIENCE_SECONDS)
    with worker(log) as process:
        wait_for(log, UNFINISHED)
        close_all(log)
        wait_for(log, UNFINISHED)
    assert rows(log, "SELECT DISTINCT status FROM delivery_jobs") == [("COMPLETED",)], f"seed {seed}"
    sent = Counter((event, alert_id) for event, alert_id in rows(log, "SELECT event, alert_id FROM sends"))
    assert set(sent) == {(event, one) for event in ("OPEN", "CLOSED") for one in alerts}
    assert sum(sent.values()) - len(sent) == KILLS, f"repeats, seed {seed}"
    assert rows(log, "SELECT count(DISTINCT message_id) FROM sends") == [(len(sent),)]
    assert rows(log, "SELECT count(*) FROM delivery_attempts WHERE outcome = 'lost'") == [(KILLS,)]


def test_two_processes_share_the_work_and_never_a_job_and_a_hanging_receiver_delays_nobody(log: Database) -> None:
    receive(log, "hangs", "hangs")
    receive(log, "fails", "fails")
    names = [f"hub-{number}" for number in range(4)]
    for number, name in enumerate(names):
        receive(log, name, "slow", concurrency=number % 3 + 1)
    healthy = (
        "SELECT 1 FROM delivery_jobs AS j JOIN integrations AS i USING (tenant_id, integration_id)"
        " WHERE j.status IN ('PENDING', 'PROCESSING') AND i.type = 'slow' LIMIT 1"
    )
    with ExitStack() as stack:
        for instance in ("one", "two"):
            stack.enter_context(worker(log, instance))
        wait_for(log, NOT_BOTH_LISTEN)
        for name in ("hangs", "fails", *names):
            open_alerts(log, name, DELIVERIES // 8)
        wait_for(log, healthy)
        close_all(log)
        wait_for(log, healthy)
    sends = rows(log, "SELECT receiver, event, alert_id, pid, began, ended FROM sends ORDER BY began")
    assert len({pid for *_, pid, _, _ in sends}) == 2, "both worked"
    for name in names:
        mine = [send for send in sends if send[0] == name]
        assert Counter(send[1:3] for send in mine).most_common(1)[0][1] == 1, "no job twice"
        assert most_at_a_time(mine) <= names.index(name) % 3 + 1
        order = defaultdict(list)
        for _, event, alert_id, *_ in mine:
            order[alert_id].append(event)
        assert {tuple(events) for events in order.values()} == {("OPEN", "CLOSED")}
    for name in ("hangs", "fails"):
        mine = [send for send in sends if send[0] == name]
        assert most_at_a_time(mine) <= 2
        assert len(mine) < 20, "the breaker opens"


def most_at_a_time(sends: list[tuple[object, ...]]) -> int:
    """Return how many sends were under way at once; one without an end was cut off with its process."""
    edges = [(began, 1) for *_, began, _ in sends] + [(ended, -1) for *_, ended in sends if ended is not None]
    most = now = 0
    for _, step in sorted(edges, key=lambda edge: (edge[0], edge[1])):
        now += step
        most = max(most, now)
    return most


def test_a_process_that_stays_away_loses_its_leases_to_another(log: Database) -> None:
    receive(log, "hub", concurrency=1)
    open_alerts(log, "hub", 3)
    with worker(log, "one", failpoint="before_delivery_settled:1") as process:
        process.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    with worker(log, "two"):
        wait_for(log, UNFINISHED)
    assert time.monotonic() - began >= LEASE_SECONDS - 1.0, "not before it ran out"
    assert rows(log, "SELECT count(*), count(DISTINCT message_id) FROM sends") == [(4, 3)]


def test_killed_again_and_again_each_delivery_ends_with_its_reason_and_repeats_are_known(log: Database) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for number, kind in enumerate(RECEIVERS):
        receive(log, f"hub-{number}", kind)
        open_alerts(log, f"hub-{number}", MANY)
    between = [True, False] * (KILLS_OF_MANY // 2)
    """Of each kill, whether it comes between an answer and its record; else at any moment."""
    chance.shuffle(between)
    cut_off = work_off(log, chance, between[::2])
    close_all(log)
    cut_off += work_off(log, chance, between[1::2])
    if not soak.LONG:  # a person gives up on them, before the retry table does
        rows(log, "UPDATE integrations SET enabled = false WHERE type <> 'webhook'")
    with worker(log, speed=FAST):
        wait_for(log, UNFINISHED)
    ended = Counter(rows(log, f"SELECT i.type, j.status, j.reason {JOBS}"))
    assert sum(ended.values()) == 2 * MANY * len(RECEIVERS)
    assert ended["webhook", "COMPLETED", None] == 2 * MANY * RECEIVERS.count("webhook"), f"seed {seed}"
    others = {(status, reason) for kind, status, reason in ended if kind != "webhook"}
    assert (("DEAD", "exhausted") if soak.LONG else ("SKIPPED", "integration_off")) in others
    assert others <= ENDS_UNTOLD, f"seed {seed}: {ended}"
    assert rows(log, TRIES_WITHOUT_RECORD) == [], f"seed {seed}"
    assert rows(log, "SELECT 1 FROM sends GROUP BY alert_id, event HAVING count(DISTINCT message_id) > 1") == []
    [(sent, different)] = rows(log, f"SELECT count(*), count(DISTINCT s.message_id) {SENDS_OF_HEALTHY}")
    assert different == 2 * MANY * RECEIVERS.count("webhook")
    assert KILLS_OF_MANY // 2 <= sent - different <= cut_off, f"repeats, seed {seed}"
    most = f"SELECT max(number) FROM (SELECT count(*) AS number {SENDS_OF_HEALTHY} GROUP BY s.message_id) AS n"
    assert rows(log, most)[0][0] <= 1 + KILLS_OF_MANY


JOBS = "FROM delivery_jobs AS j JOIN integrations AS i USING (tenant_id, integration_id)"
SENDS_OF_HEALTHY = f"FROM sends AS s JOIN (SELECT j.message_id {JOBS} WHERE i.type = 'webhook') AS j USING (message_id)"
TRIES_WITHOUT_RECORD = """
SELECT j.job_id FROM delivery_jobs AS j JOIN sends AS s USING (message_id)
GROUP BY j.job_id HAVING count(*) > (SELECT count(*) FROM delivery_attempts AS a WHERE a.job_id = j.job_id)
"""


ENDS_UNTOLD = {("DEAD", "exhausted")} | {
    ("SKIPPED", reason) for reason in ("merged", "overtaken", "not_told", "integration_off")
}


def work_off(database: Database, chance: random.Random, between: Sequence[bool]) -> int:
    """Let processes deliver until healthy receivers have everything, all but the last one killed; see ``killed``."""
    cut_off = sum(killed(database, chance, one) for one in between)
    with worker(database):
        wait_for(database, HEALTHY_UNFINISHED)
    return cut_off


def killed(database: Database, chance: random.Random, between: bool) -> int:
    """Let a process work for a while and kill it; return how many of its sends had no record by then."""
    work = chance.randrange(1, MANY * RECEIVERS.count("webhook") * 3 // (2 * KILLS_OF_MANY))
    if between:
        with worker(database, failpoint=f"before_delivery_settled:{work}") as process:
            process.wait(PATIENCE_SECONDS)
    else:
        before = len(rows(database, "SELECT 1 FROM sends"))
        with worker(database) as process:
            wait_for(database, f"SELECT 1 WHERE (SELECT count(*) FROM sends) < {before + work}", process=process)
            time.sleep(chance.random() * 0.1)
    [(count,)] = rows(database, "SELECT count(*) FROM delivery_jobs WHERE status = 'PROCESSING'")
    return int(count)
