"""A volume that is full of readings, with endless ingest: the oldest days go, and nobody notices but the books."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import structlog
import trio

from appliance.mqtt.client import Client
from appliance.people.role import Role
from tests.faults.test_full_disk import on_a_volume, sign_in, until
from tests.support import soak
from tests.support.accounting import look as balance
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.publisher import TENANT, client
from tests.support.small_volume import MB, SmallVolume
from tests.support.web.accounts import client as signed_client
from tests.support.web.accounts import signed_in

VOLUME = 300
"""MB."""
SECONDS = 600.0 if soak.LONG else 0.0
"""How long it goes on at least, beyond the first days that go."""
OLD_DAYS, OLD_READINGS = 4, 12_000 if soak.LONG else 3_000
"""Days that are there from the start, and readings of each: 12,000 are some 5 MB."""
FIRST_OLD = 29 if soak.LONG else 5
"""How many days ago the first of them is."""
LEFT = 64 * MB
"""Bytes that are left for messages to take, where there is no time for all of the volume: some more than those with
which a day goes at once."""
DAYS_GONE = 10 if soak.LONG else 1
ANSWER_SECONDS = 2.0
TERMS = [30, 90, 180, 365, 730, 1095]
"""Days. The same renewal again within a day is answered and changes nothing."""
NO_ROOM = ("No space left on device", "ENOSPC", "Traceback")

STORE = """
INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
SELECT %s, 'old-' || n %% 10, 'telemetry', %s::timestamptz + n * interval '1 second', n, %s, false, false,
  jsonb_build_object('temperature', n, 'note', repeat(md5(n::text), 4))
FROM generate_series(1, %s) AS n
RETURNING 1
"""
COUNT = """
INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored) VALUES (%s, 'before', %s, %s, %s) RETURNING 1
"""
DAYS = """
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'telemetry'::regclass AND pg_relation_size(c.oid) > 0 ORDER BY 1
"""
DROPPED = """
SELECT object_id, (before ->> 'readings')::bigint, after ->> 'cause', actor FROM audit_log
WHERE action = 'telemetry.drop' ORDER BY id
"""
TOLD = "SELECT 1 FROM fleet_alert WHERE alert_type = 'SYSTEM' AND summary LIKE '%% went before their age: %%'"
NEAR_ITS_END = """
UPDATE subscriptions SET term_start = now() - interval '300 days', term_end = now() + interval '20 days'
WHERE tenant_id = %s RETURNING subscription_id
"""


@dataclass
class Sender:
    """Devices that were out of reach and send what they kept, day by day, and now and then of the present moment."""

    today: date
    began: float = field(default_factory=time.monotonic)
    sent: int = 0
    ended: bool = False

    def messages(self, count: int) -> list[tuple[str, bytes]]:
        """Return the next messages."""
        made, passed = [], (time.monotonic() - self.began) / (SECONDS or 10.0)
        ago = max(1, round((FIRST_OLD - OLD_DAYS) * (1 - passed)))
        day = datetime(self.today.year, self.today.month, self.today.day, tzinfo=UTC) - timedelta(days=ago)
        for number in range(self.sent, self.sent + count):
            at = time.time() if number % 20 == 0 else day.timestamp() + number % 86_400_000 / 1000
            payload = {"ts": round(at * 1000), "temperature": number % 40, "note": f"{number:0128}"}
            made.append((f"tenant/{TENANT}/device/d{number % 20}/telemetry", json.dumps(payload).encode()))
        self.sent += count
        return made

    async def run(self, through: Client) -> None:
        """Send until told to end; every message was acknowledged by the broker then."""
        while not self.ended:
            await through.publish_many(self.messages(200))
            await trio.sleep(0.02)


@dataclass
class People:
    """People who sign in and renew all the while, and how long each answer took."""

    appliance: ApplianceProcess
    took: dict[str, list[float]] = field(default_factory=lambda: {"sign-in": [], "renewal": []})
    ended: bool = False

    async def sign_in_again_and_again(self) -> None:
        while not self.ended:
            limit = within(ANSWER_SECONDS)
            self._note("sign-in", await sign_in(self.appliance), limit)
            await trio.sleep(0.5)

    async def renew_again_and_again(self) -> None:
        person = signed_in(self.appliance.conninfo(), Role.ADMIN, TENANT)
        async with signed_client(self.appliance.run["web_url"], person) as admin:
            while not self.ended:
                [(subscription, *_)] = await trio.to_thread.run_sync(self.appliance.query, NEAR_ITS_END, TENANT)
                limit, began = within(ANSWER_SECONDS), time.monotonic()
                wanted = {"subscription_id": subscription, "term_days": TERMS[len(self.took["renewal"]) % len(TERMS)]}
                answer = await admin.post("/customer/subscription/renew", json=wanted)
                assert (answer.status_code, answer.json().get("renewed")) == (200, True), answer.text
                self._note("renewal", time.monotonic() - began, limit)
                await trio.sleep(0.5)

    def _note(self, what: str, seconds: float, limit: float) -> None:
        self.took[what].append(seconds)
        if soak.LONG:
            assert seconds < limit, f"{what}: {seconds}\n{self.appliance.tail()}"


def make_old_days(appliance: ApplianceProcess, today: date) -> None:
    """Store old days, and count them as the writer does."""
    for ago in range(FIRST_OLD, FIRST_OLD - OLD_DAYS, -1):
        day = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=ago)
        appliance.query(STORE, TENANT, day, day, OLD_READINGS)
        appliance.query(COUNT, day, TENANT, OLD_READINGS, OLD_READINGS)


def gone(appliance: ApplianceProcess) -> list[tuple[str, int, str, str]]:
    """Return the days that have gone, by the audit."""
    return appliance.query(DROPPED)


async def until_true(appliance: ApplianceProcess, holds: Callable[[], bool], seconds: float) -> None:
    with trio.move_on_after(seconds):
        while not await trio.to_thread.run_sync(holds):
            await trio.sleep(0.2)
        return
    raise AssertionError(appliance.tail())


async def test_the_oldest_days_go_and_everything_else_goes_on(appliance: ApplianceProcess) -> None:
    today = datetime.now(UTC).date()
    with on_a_volume(appliance, VOLUME) as volume:
        await until(appliance, b'"ready"')
        make_old_days(appliance, today)
        if not soak.LONG:
            volume.fill(LEFT)
        sender, people = Sender(today), People(appliance)
        least = await endless(appliance, volume, sender, people)
        count = sender.sent + OLD_DAYS * OLD_READINGS
        await until_true(appliance, lambda: balance(appliance.conninfo()).received >= count, 120)
        if soak.LONG:
            assert appliance.query(TOLD), "people learn that days go"
        found, dropped = balance(appliance.conninfo()), gone(appliance)
        log = appliance.log.read_text()
        structlog.get_logger(__name__).info("shown", **figures(sender, people, least, dropped, found.stored))
    assert found.dropped == sum(readings for _, readings, *_ in dropped)
    assert {(cause, actor) for *_, cause, actor in dropped} == {("disk", "retention")}
    assert dropped[0][:2] == ((today - timedelta(days=FIRST_OLD)).isoformat(), OLD_READINGS)
    assert today.isoformat() not in {day for day, *_ in dropped}
    assert min(map(len, people.took.values())) > 0
    assert [words for words in NO_ROOM if words in log] == []


async def endless(appliance: ApplianceProcess, volume: SmallVolume, sender: Sender, people: People) -> int:
    """Send, sign in and renew until days have gone and the time is over; return the least that was free."""
    least = volume.free()
    async with client(appliance, "endless") as session, trio.open_nursery() as nursery:
        nursery.start_soon(sender.run, session)
        nursery.start_soon(people.sign_in_again_and_again)
        nursery.start_soon(people.renew_again_and_again)
        began = time.monotonic()
        while time.monotonic() - began < SECONDS or len(gone(appliance)) < DAYS_GONE:
            assert time.monotonic() - began < SECONDS + 300, appliance.tail()
            least = min(least, volume.free())
            await trio.sleep(0.2)
        sender.ended = people.ended = True
    return least


def figures(
    sender: Sender, people: People, least: int, dropped: list[tuple[str, int, str, str]], stored: int
) -> dict[str, object]:
    """Return what a run has shown."""
    return {
        "sent": sender.sent,
        "stored": stored,
        "days_gone": [(day, readings) for day, readings, *_ in dropped],
        "least_free_mb": least // MB,
        "slowest": {what: round(max(took), 3) for what, took in people.took.items()},
        "times": {what: len(took) for what, took in people.took.items()},
    }
