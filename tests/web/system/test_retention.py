"""What the System page says of readings: how long they are kept, what they may take, and what goes for room."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.clock import SystemClock
from appliance.diagnostics.process_metrics import Disk, ProcessMetrics
from appliance.ingest.telemetry.budget import BudgetState, Limit, Source, Usage
from appliance.ingest.telemetry.disk_outlook import DiskOutlook
from appliance.ingest.telemetry.expiry import Wait
from appliance.metrics import Metrics
from appliance.web.system.labels import is_pressing, no_outlook, outlook_text, wait_text
from appliance.web.system.retention import RetentionView, WaitingDay
from tests.support.postgres_server import Database
from tests.support.retention import make_days, queue_hour, store
from tests.support.web.system_page import system_page


async def test_it_shows_the_days_of_readings_and_what_waits_for_what(database: Database) -> None:
    today = datetime.now(UTC).date()
    old, kept = today - timedelta(days=40), today - timedelta(days=1)
    for day in (old, kept):
        await make_days(database, day, day)
        store(database, day, 100)
    queue_hour(database, old, 3)
    async with system_page(database) as asking:
        html = (await asking.get("/system")).text
    for text in (
        "Readings kept",
        "2 days,",
        f"{old:%-d %b %Y}, due",
        "Waits for its roll-ups, 1 to be written",
        "a day",
    ):
        assert text in html
    async with system_page(database, retention_days=3650) as asking:
        html = (await asking.get("/system")).text
    assert "Past their age" not in html
    assert f"{old:%-d %b %Y}, at " in html


async def test_without_readings_it_says_how_long_they_will_be_kept(database: Database) -> None:
    await make_days(database, *[datetime.now(UTC).date()] * 2)
    async with system_page(database, retention_days=1) as asking:
        assert "They are kept 1 day." in (await asking.get("/system")).text


def budget(taken: int, limit: int, source: Source = Source.MAX_BYTES, **state: Any) -> BudgetState:
    return BudgetState(Usage(taken, 10**12, 10**11, 0), Limit(limit, source), **state)


async def test_it_shows_what_may_be_taken_and_when_the_oldest_day_goes_for_it(database: Database) -> None:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=2), today - timedelta(days=1)):
        await make_days(database, day, day)
        store(database, day, 100)
    async with system_page(database, budget=lambda: budget(10**9, 2 * 10**9)) as asking:
        html = (await asking.get("/system")).text
    assert "1.0 GB of 2.0 GB taken, by retention.max_bytes" in html
    assert "to make room" not in html
    async with system_page(database, budget=lambda: budget(10**9, 10**9 + 10_000, Source.DISK)) as asking:
        html = (await asking.get("/system")).text
    assert "taken, by the size of the disk" in html
    assert "within a day, to make room" in html
    going = budget(3 * 10**9, 2 * 10**9, day=today - timedelta(days=2), wait=Wait.LOCK)
    async with system_page(database, budget=lambda: going) as asking:
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
    async with system_page(database, budget=lambda: stuck, process=process) as asking:
        html = " ".join((await asking.get("/system")).text.split())
    assert "No day can go: the present one stays" in html
    for label in ("Readings of today", "Rest of Postgres", "Log of Postgres", "Queue of the broker", "Other files"):
        assert f"<dt>{label}</dt>" in html
    assert '<dt>Log of Postgres</dt><dd class="num">64.0 MB</dd>' in html
    assert "<dt>Earlier readings</dt>" not in html
    assert "<dt>Replaced by a restore</dt>" not in html
    process.disk = replace(disk, rest=10**9, aside=10**9)
    stuck = budget(3 * 10**9, 2 * 10**9, wait=Wait.ASIDE, exhausted=True)
    async with system_page(database, budget=lambda: stuck, process=process) as asking:
        html = " ".join((await asking.get("/system")).text.split())
    assert "No day can go" not in html
    assert "No day goes for what a restore replaced: remove the folders" in html
    assert '<dt>Replaced by a restore</dt><dd class="num">1.0 GB</dd>' in html
    passing = budget(3 * 10**9, 2 * 10**9, Source.DISK, wait=Wait.PASSING)
    async with system_page(database, budget=lambda: passing) as asking:
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
