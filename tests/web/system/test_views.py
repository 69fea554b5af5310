"""The System page: for operators, true, live by parts, and harmless whatever an error says."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from msgspec.structs import replace as changed

from appliance.broker.floods.record import FloodCause, Flooder
from appliance.broker.room import BrokerRoom
from appliance.broker.takeover import SharedClientId
from appliance.clock import SystemClock
from appliance.db import server
from appliance.db.collations import ChangedCollation
from appliance.db.migrations import shipped
from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.process_metrics import Disk, ProcessMetrics
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom
from appliance.ingest.telemetry.budget import BudgetState, Limit, Source, Usage
from appliance.ingest.telemetry.disk_outlook import DiskOutlook
from appliance.ingest.telemetry.expiry import Wait
from appliance.metrics import Metrics
from appliance.people.role import Role
from appliance.runtime.tree import Report, Reporter, Tree
from appliance.watchdog.proof import Part
from appliance.watchdog.watchdog import EndToEnd, HeartbeatCall
from appliance.web.page import formats
from appliance.web.system.labels import is_pressing, no_outlook, outlook_text, promise, wait_text
from appliance.web.system.retention import RetentionView, WaitingDay
from tests.support.busy import within
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.retention import make_days, queue_hour, store
from tests.support.routes import add_integration, add_route
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over, page_socket
from tests.support.web.stand_ins import backed_up, quiet_system

TERMS = BrokerTerms(5, 200_000, 268_435_456, 4096, 262_144, 10_000, 14, 805_306_368)


async def _quiet(*, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        task_status.started()


def _telling(report: Report) -> Reporter:
    return lambda: report


@asynccontextmanager
async def page(database: Database, *reports: Report, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An operator of a dashboard whose process runs a service for each report."""
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        for number, report in enumerate(reports):
            await tree.start(f"service-{number}", _quiet, report=_telling(report))
        system = replace(quiet_system(SystemClock()), tasks=tree.status, **given)
        operator = signed_in(database.conninfo())
        async with over(database, snapshot=system) as served, client(served.url, operator) as asking:
            yield asking
        await tree.drain()


async def test_it_shows_the_message_balance(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused, duplicate, cleared)"
        " VALUES (now(), 'a', 'acme', 3316281, 3309871, 5102, 1231, 77)",
    )
    async with page(database) as asking:
        html = (await asking.get("/system")).text
    for text in ("Message balance", "3,316,281", "3,309,871", "5,102", "1,231", "77 cleared", "Balanced"):
        assert text in html
    assert "Not balanced" not in html


async def test_it_says_that_text_sorts_otherwise_than_in_the_indexes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def changed(_connection: object) -> list[ChangedCollation]:
        return [ChangedCollation(None, "2.36", "2.41", ())]

    async with page(database) as asking:
        assert "Order of text" not in (await asking.get("/system")).text
    monkeypatch.setattr(server, "changed", changed)
    async with page(database) as asking:
        html = (await asking.get("/system")).text
    assert "the collation of the database was version 2.36, and is 2.41" in html
    assert "appliance doctor --mend" in html


async def test_it_shows_client_ids_that_two_tenants_use_and_who_is_shut_out(database: Database) -> None:
    now = SystemClock().now()
    shared = [
        SharedClientId("<esp>", ("acme/device/a", "globex/device/b"), now - 60, 7, True, None),
        SharedClientId("acme/device/a", ("acme/device/a", "globex/device/c"), now - 90, 3, True, now + 60),
    ]
    async with page(database, shared_client_ids=lambda: shared) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Client ids of two tenants", "&lt;esp&gt;", "acme/device/a", "globex/device/b", "globex/device/c"):
        assert text in html
    assert html.count("Shut out") == 1
    assert [one["client_id"] for one in answer["shared_client_ids"]] == ["<esp>", "acme/device/a"]
    async with page(database) as asking:
        assert "Client ids of two tenants" not in (await asking.get("/system")).text


async def test_it_shows_who_is_shut_out_of_the_broker_and_what_the_broker_takes(database: Database) -> None:
    now = SystemClock().now()
    flooder = Flooder("globex", FloodCause.RETAINED, "left <b>3,001</b> retained messages", now, now + 300, 2)
    room = BrokerRoom(24_000_000, 805_306_368, 31_000_000, 5_800_000, 52)
    broker = Dependency("Mosquitto", embedded=True, version="2.0.11", trouble=None, room=room)
    async with page(database, flooders=lambda: [flooder], dependencies=lambda: [broker]) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Shut out of the broker", "globex", "It left &lt;b&gt;3,001&lt;/b&gt; retained messages"):
        assert text in html
    assert "24.0 MB of 805 MB allocated, 31.0 MB resident, 5.8 MB on disk, 52 retained messages" in html
    assert [one["user"] for one in answer["flooders"]] == ["globex"]
    assert answer["companions"][0]["room"]["retained"] == 52
    async with page(database) as asking:
        assert "Shut out of the broker" not in (await asking.get("/system")).text


async def test_it_shows_the_state_of_the_disk_what_is_free_and_the_reserve(database: Database) -> None:
    full = DiskRoom("full", 3_000_000, 260_000_000, 0, 33_554_432, 25_165_824, 83_886_080, "the disk is full: so it is")
    low = replace(full, state="low", reserve=33_554_432, cause=None)
    async with page(database, room=lambda: full) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Full", "3.0 MB of 260 MB", "given back", "83.9 MB must be free", "messages wait in the broker"):
        assert text in html, text
    assert answer["room"]["state"] == "full"
    assert (answer["room"]["free"], answer["room"]["reserve"]) == (3_000_000, 0)
    async with page(database, room=lambda: low) as asking:
        html = (await asking.get("/system")).text
    for text in ("Low", "33.6 MB, kept back for a full disk"):
        assert text in html, text
    assert "given back" not in html


async def test_it_shows_every_service_and_the_tasks_below_it(database: Database) -> None:
    async with page(database, Report("passes on", kind="v7", waiting=3, room=4096), Report("rests")) as asking:
        html = (await asking.get("/system")).text
    for text in (
        "watches 2 services",
        "service-0",
        "v7",
        "passes on, 3 of 4,096 waiting",
        "service-1",
        "sleep_forever",
    ):
        assert text in html


async def test_only_problems_leaves_out_what_is_well(database: Database) -> None:
    async with page(database, Report("is well"), Report(trouble="the link is down")) as asking:
        html = (await asking.get("/system/problems")).text
    assert "the link is down" in html
    assert "Only problems, 1" in html
    assert "is well" not in html


async def test_what_an_error_says_is_text_and_nothing_else(database: Database) -> None:
    async with page(database, Report(trouble="<script>alert(1)</script>")) as asking:
        html = (await asking.get("/system")).text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


async def test_a_service_that_does_not_answer_is_told(database: Database) -> None:
    away = Dependency("Postgres", embedded=True, version="15", trouble="is waiting", restarts=3, last_error="SIGKILL")
    async with page(database, dependencies=lambda: [away]) as asking:
        html = (await asking.get("/system")).text
    for text in ("0 of 1 answering", "is waiting", "last error: SIGKILL"):
        assert text in html


async def test_a_schema_that_is_not_the_programs_own_is_marked(database: Database) -> None:
    newest = shipped()[-1].version
    async with page(database) as asking:
        assert f"{newest}, matches this version" in (await asking.get("/system")).text
    async with page(database, schema=lambda: newest - 1) as asking:
        html = (await asking.get("/system")).text
    assert f"this version needs {newest}" in html
    assert "matches this version" not in html


async def test_it_shows_the_days_of_readings_and_what_waits_for_what(database: Database) -> None:
    today = datetime.now(UTC).date()
    old, kept = today - timedelta(days=40), today - timedelta(days=1)
    for day in (old, kept):
        await make_days(database, day, day)
        store(database, day, 100)
    queue_hour(database, old, 3)
    async with page(database) as asking:
        html = (await asking.get("/system")).text
    for text in (
        "Readings kept",
        "2 days,",
        f"{old:%-d %b %Y}, due",
        "Waits for its roll-ups, 1 to be written",
        "a day",
    ):
        assert text in html
    async with page(database, retention_days=3650) as asking:
        html = (await asking.get("/system")).text
    assert "Past their age" not in html
    assert f"{old:%-d %b %Y}, at " in html


async def test_without_readings_it_says_how_long_they_will_be_kept(database: Database) -> None:
    await make_days(database, *[datetime.now(UTC).date()] * 2)
    async with page(database, retention_days=1) as asking:
        assert "They are kept 1 day." in (await asking.get("/system")).text


async def test_it_shows_the_last_backup_the_next_one_and_what_went_wrong(database: Database) -> None:
    now = datetime.now(UTC).timestamp()
    async with page(database) as asking:
        html = (await asking.get("/system")).text
    assert "1.2 GB" in html
    assert "appliance-0123456789ab-20261130T023000Z.age" in html
    assert "The folder is on the disk of the data" in html
    assert "The last 7 verified ones are kept." in html
    assert "Back up now" in html
    running = changed(backed_up(now), running=True, next_at=None, on_data_disk=False)
    async with page(database, backups=lambda: running) as asking:
        html = (await asking.get("/system")).text
    assert "being made now" in html
    assert "Back up now" not in html
    assert "on the disk of the data" not in html
    failed = changed(backed_up(now), last_error="the disk of /mnt/backups is full", good_at=None, good_file=None)
    async with page(database, backups=lambda: failed) as asking:
        html = (await asking.get("/system")).text
    assert "the disk of /mnt/backups is full" in html
    assert "none yet" in html
    in_doubt = changed(backed_up(now), next_at=None, overdue=True)
    async with page(database, backups=lambda: in_doubt) as asking:
        html = (await asking.get("/system")).text
    assert "a day after the last: the clock is in doubt" in html
    assert "Overdue" in html
    async with page(database, backups=lambda: None) as asking:
        assert "no folder is configured" in (await asking.get("/system")).text


def budget(taken: int, limit: int, source: Source = Source.MAX_BYTES, **state: Any) -> BudgetState:
    return BudgetState(Usage(taken, 10**12, 10**11, 0), Limit(limit, source), **state)


async def test_it_shows_what_may_be_taken_and_when_the_oldest_day_goes_for_it(database: Database) -> None:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=2), today - timedelta(days=1)):
        await make_days(database, day, day)
        store(database, day, 100)
    async with page(database, budget=lambda: budget(10**9, 2 * 10**9)) as asking:
        html = (await asking.get("/system")).text
    assert "1.0 GB of 2.0 GB taken, by retention.max_bytes" in html
    assert "to make room" not in html
    async with page(database, budget=lambda: budget(10**9, 10**9 + 10_000, Source.DISK)) as asking:
        html = (await asking.get("/system")).text
    assert "taken, by the size of the disk" in html
    assert "within a day, to make room" in html
    going = budget(3 * 10**9, 2 * 10**9, day=today - timedelta(days=2), wait=Wait.LOCK)
    async with page(database, budget=lambda: going) as asking:
        html = (await asking.get("/system")).text
    assert f"{today - timedelta(days=2):%-d %b %Y}, now, to make room" in html
    assert "Waits for a session that reads or writes readings for long" in html
    assert "No day can go" not in html


async def test_where_no_day_can_go_it_says_what_takes_the_room(database: Database) -> None:
    today = datetime.now(UTC).date()
    await make_days(database, today, today)
    store(database, today, 100)
    disk = Disk(10**12, 10**11, 700 * 10**6, 64 * 10**6, 9 * 10**6, 2 * 10**6, 32 * 10**6)
    process = ProcessMetrics(Metrics(), SystemClock(), Path.cwd(), queue=lambda: 0, each_second=lambda _now: None)
    process.disk = disk
    stuck = budget(3 * 10**9, 2 * 10**9, exhausted=True)
    async with page(database, budget=lambda: stuck, process=process) as asking:
        html = " ".join((await asking.get("/system")).text.split())
    assert "No day can go: the present one stays" in html
    for label in ("Readings of today", "Rest of Postgres", "Log of Postgres", "Queue of the broker", "Other files"):
        assert f"<dt>{label}</dt>" in html
    assert '<dt>Log of Postgres</dt><dd class="num">64.0 MB</dd>' in html
    assert "<dt>Earlier readings</dt>" not in html
    assert "<dt>Replaced by a restore</dt>" not in html
    process.disk = replace(disk, rest=10**9, aside=10**9)
    stuck = budget(3 * 10**9, 2 * 10**9, wait=Wait.ASIDE, exhausted=True)
    async with page(database, budget=lambda: stuck, process=process) as asking:
        html = " ".join((await asking.get("/system")).text.split())
    assert "No day can go" not in html
    assert "No day goes for what a restore replaced: remove the folders" in html
    assert '<dt>Replaced by a restore</dt><dd class="num">1.0 GB</dd>' in html
    passing = budget(3 * 10**9, 2 * 10**9, Source.DISK, wait=Wait.PASSING)
    async with page(database, budget=lambda: passing) as asking:
        assert "the oldest day goes if it still is in a quarter of an hour" in (await asking.get("/system")).text


def outlook(full_in: int | None, *, free: int | None = 10**9) -> str | None:
    expected = DiskOutlook(10**6, 7, 31 * 10**6, free, full_in)
    return outlook_text(RetentionView(30, 0, [], None, None, [], expected))


def test_the_outlook_says_how_long_the_disk_lasts() -> None:
    assert outlook(None) == "Enough for 30 days of readings"
    assert outlook(1) == "Full in 1 day"
    fewer = DiskOutlook(10**6, 7, 31 * 10**6, 10**9, None, drops_in=2, keeps=5)
    assert outlook_text(RetentionView(30, 0, [], None, None, [], fewer)) == "Keeps 5 complete days at this rate"
    assert not is_pressing(fewer)
    none = replace(fewer, drops_in=0, keeps=0)
    assert outlook_text(RetentionView(30, 0, [], None, None, [], none)) == "No room for one complete day"
    assert is_pressing(none)
    assert outlook(0) == "Full within a day"
    assert outlook(None, free=None) is None
    fresh = RetentionView(30, 0, [], None, None, [], None)
    assert no_outlook(fresh, embedded=False) == "Free space of an external database is not known"
    assert no_outlook(fresh, embedded=True) == "Known after the first complete day"


def test_each_wait_says_what_is_waited_for() -> None:
    by_age = [reason for reason in Wait if reason not in {Wait.PASSING, Wait.ASIDE}]
    texts = [wait_text(WaitingDay(date(2026, 11, 23), reason, 1200)) for reason in by_age]
    assert texts == [
        "Waits until the clock is trusted again",
        "Waits for its roll-ups, 1,200 to be written",
        "Waits for a session that reads or writes readings for long, such as psql",
        "Waits for the end of a backup, which reads all readings",
        "Goes within minutes",
    ]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_it_is_for_operators(database: Database, role: Role) -> None:
    person = signed_in(database.conninfo(), role)
    async with over(database) as served, client(served.url, person) as asking:
        assert (await asking.get("/system")).status_code == 403
        assert "/system" not in (await asking.get("/")).text


async def test_its_parts_come_live_to_operators_only(database: Database) -> None:
    people = [signed_in(database.conninfo(), role) for role in (Role.OPERATOR, Role.ADMIN)]
    heard: list[str | bytes] = []
    async with over(database) as served:
        for person in people:
            headers = [("Origin", served.url), ("Cookie", person.headers()["Cookie"])]
            async with page_socket(served, page="system", headers=headers) as socket:
                with trio.fail_after(within(2)):
                    heard.append(await socket.get_message())
    assert heard[1] == "", "an administrator hears that there is nothing to tell"
    for part in (
        "sys-balance",
        "sys-kpis",
        "sys-tasks",
        "sys-services",
        "sys-disk",
        "sys-retention",
        "sys-versions",
        "live-state",
    ):
        assert f'id="{part}"' in str(heard[0])


def test_the_promise_says_what_can_be_lost_and_when_nothing_can() -> None:
    lossy = promise(TERMS, Percentiles(10, 0.02, 0.084, 0.19))
    assert "every 5 s" in lossy
    assert "84 ms" in lossy
    assert "are lost" in lossy
    assert "Nothing acknowledged is lost" in promise(replace(TERMS, saves_every=None), None)
    assert "is external" in promise(None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4200, "4 kB"),
        (412_000_000, "412 MB"),
        (31.2e9, "31.2 GB"),
        (2e15, "2,000 TB"),
    ],
)
def test_sizes_read_well(value: float, text: str) -> None:
    assert formats.size(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0004, "0.4"), (0.0061, "6.1"), (0.084, "84"), (1.25, "1,250")])
def test_milliseconds_read_well(seconds: float, text: str) -> None:
    assert formats.milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("proven", "texts"),
    [
        (
            EndToEnd(24.0, True, (), 60.0, heartbeat=True, called=HeartbeatCall(12.0, True, None)),
            ("Last proven end to end: 24 s ago", "The heartbeat URL was called 12 s ago, and is called every 1 min."),
        ),
        (
            EndToEnd(90.0, False, (Part.COMMIT, Part.OUTBOX), 60.0, heartbeat=False, called=None),
            ("Last proven end to end: 1 min 30 s ago", "Missing: Commit, Outbox", "No heartbeat URL is set"),
        ),
        (
            EndToEnd(None, None, (), 60.0, heartbeat=True, called=None),
            ("Not proven end to end yet", "is called as soon as there is a proof"),
        ),
        (
            EndToEnd(None, False, (Part.BROKER,), 60.0, heartbeat=True, called=HeartbeatCall(5.0, False, "timeout")),
            ("Not proven end to end since the start", "Missing: Broker", "was not reached 5 s ago: timeout"),
        ),
    ],
)
async def test_it_says_when_a_message_was_last_proven_to_pass(
    database: Database, proven: EndToEnd, texts: tuple[str, ...]
) -> None:
    async with page(database, end_to_end=lambda: proven) as asking:
        html = (await asking.get("/system")).text
        told = (await asking.get("/operator/system")).json()["end_to_end"]
    for text in texts:
        assert text in html
    assert told["missing"] == list(proven.missing)
    assert told["proven_seconds"] == proven.proven_seconds


async def test_it_leads_to_the_appliances_own_integrations_and_routes_which_operators_edit_there(
    database: Database,
) -> None:
    add_integration(database, "rival", name="Of a customer")
    async with page(database) as asking:
        html = (await asking.get("/system")).text
        addresses = re.findall(r'href="(/(?:integrations|routes)\?tenant=appliance)"', html)
        assert sorted(addresses) == ["/integrations?tenant=appliance", "/routes?tenant=appliance"]
        for address in addresses:
            answer = await asking.get(address)
            assert answer.status_code == 200
            assert "Of a customer" not in answer.text
            path, _, query = address.partition("?")
            assert f"{path}/+new?{query}" in answer.text.replace("&amp;", "&"), "a way to make the first one"
            assert (await asking.get(f"{path}/+new?{query}")).status_code == 200


async def test_it_says_whether_anybody_is_told_of_the_appliances_alerts(database: Database) -> None:
    async with page(database) as asking:
        assert "Nobody is told of alerts of this appliance" in (await asking.get("/system")).text
    add_route(database, add_integration(database, "appliance"), "appliance")
    async with page(database) as asking:
        assert "Alerts of this appliance are told along 1 route." in (await asking.get("/system")).text
