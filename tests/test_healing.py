"""What a wrong clock has written heals: in the database, whatever else is there, and in memory."""

from datetime import UTC, datetime, timedelta

import pytest
import trio

from appliance import healing
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.state import DeviceState
from appliance.devices.live.state_book import StateBook
from appliance.service_clock.service_time import Step
from tests.support import alerts, routes
from tests.support.clock import TrustedClock
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
WRONG = NOW + timedelta(days=3650)
SKEW = 600.0
LATEST = NOW + timedelta(seconds=SKEW)
BACK = Step(WRONG.timestamp() - 60, WRONG.timestamp(), NOW.timestamp())
AHEAD = Step(NOW.timestamp() - 15 * 3600, NOW.timestamp() - 14 * 3600, NOW.timestamp())

TENANT_ID = "acme"
TENANT = "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')"
USER = (
    "INSERT INTO users (user_id, created_at, tenant_id, role, email) VALUES"
    " ('00000000-0000-0000-0000-000000000001', now(), 'acme', 'viewer', 'a@acme.example')"
)


def at(moment: datetime) -> str:
    return f"'{moment.isoformat()}'::timestamptz"


async def heal(database: Database, step: Step | None, *, again: bool = False) -> None:
    async with open_pool(database.conninfo(INGEST), name="healing", min_size=1, max_size=1) as pool:
        await healing.heal(pool, "one", NOW.timestamp(), step, SKEW, again=again)


def state(database: Database, moment: datetime) -> None:
    arrange(
        database,
        TENANT,
        "INSERT INTO device_state"
        " (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, refused_at, refused_reason)"
        f" VALUES ('acme', 'd', {at(moment)}, {at(moment)}, {at(moment)}, {at(moment)}, 'INVALID_JSON')",
    )


@pytest.mark.parametrize(
    ("written", "step", "healed"),
    [
        pytest.param(NOW, BACK, NOW, id="right"),
        pytest.param(
            NOW + timedelta(seconds=SKEW), None, NOW + timedelta(seconds=SKEW), id="ahead by the allowed skew"
        ),
        pytest.param(WRONG - timedelta(hours=1), BACK, NOW - timedelta(hours=1), id="moved by the step"),
        pytest.param(WRONG - timedelta(hours=1), None, None, id="unknown, as nobody knows how wrong the clock was"),
        pytest.param(WRONG + timedelta(hours=1), BACK, None, id="unknown, as the step leads past the present"),
        pytest.param(WRONG, AHEAD, None, id="a step ahead explains no time ahead"),
    ],
)
async def test_a_device_was_heard_when_it_was_or_nobody_knows(
    database: Database, written: datetime, step: Step | None, healed: datetime | None
) -> None:
    state(database, written)
    await heal(database, step)
    [row] = look(database, "SELECT last_ts, last_seen_at, last_heard_at, refused_at, refused_reason FROM device_state")
    assert row == (healed, healed, healed, healed, None if healed is None else "INVALID_JSON")
    in_memory = DeviceState("acme", "d")
    moved = ClockStep(round((0 if step is None else step.after - step.before) * 1e6), round(SKEW * 1e6))
    in_memory.newest = in_memory.seen_at = round(written.timestamp() * 1e6)
    in_memory.heal(round(NOW.timestamp() * 1e6), moved)
    if step is not None:
        expected = 0 if healed is None else round(healed.timestamp() * 1e6)
        assert (in_memory.newest, in_memory.seen_at) == (expected, expected)


async def test_held_messages_listening_and_the_instance_come_back_to_the_present(database: Database) -> None:
    arrange(
        database,
        TENANT,
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, reason, payload) VALUES"
        f" ({at(WRONG)}, 't', 'acme', 'INVALID_JSON', ''),"
        f" ({at(NOW)} - interval '1 day', 't', 'acme', 'INVALID_JSON', '')",
        "INSERT INTO listening (instance, began_at, ended_at) VALUES"
        f" ('one', {at(NOW)} - interval '1 hour', {at(WRONG)}),"
        f" ('one', {at(WRONG)} - interval '1 hour', {at(WRONG)})",
        f"INSERT INTO ingest_instances (instance, state_written_at) VALUES ('one', {at(WRONG)})",
        "INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at) VALUES"
        f" ('acme', 'd', {at(NOW)}, {at(WRONG)})",
    )
    await heal(database, None)
    received = look(database, "SELECT ingested_at FROM quarantine_events ORDER BY id")
    assert received == [(NOW,), (NOW - timedelta(days=1),)]
    [(ended,)] = look(database, "SELECT ended_at FROM listening")
    assert ended <= NOW + timedelta(seconds=SKEW)
    assert look(database, "SELECT state_written_at FROM ingest_instances") == [(NOW,)]
    assert look(database, "SELECT marked_at FROM telemetry_marks") == [(NOW,)]


def session(database: Database, created: datetime, seen: datetime) -> None:
    arrange(
        database,
        TENANT,
        USER,
        "INSERT INTO sessions (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept)"
        f" SELECT sha256('x'), user_id, tenant_id, {at(created)}, {at(seen)}, {at(seen)} + interval '30 minutes',"
        f" {at(created)} + interval '8 hours', false FROM users",
    )


async def test_a_session_of_a_clock_ahead_lasts_as_long_as_any(database: Database) -> None:
    session(database, WRONG - timedelta(hours=1), WRONG - timedelta(minutes=5))
    await heal(database, BACK)
    rows = look(database, "SELECT created_at, seen_at, idle_until, expires_at FROM sessions")
    seen = NOW - timedelta(minutes=5)
    begun = NOW - timedelta(hours=1)
    assert rows == [(begun, seen, seen + timedelta(minutes=30), begun + timedelta(hours=8))]


async def test_a_session_outlives_a_step_ahead_once(database: Database) -> None:
    before = datetime.fromtimestamp(AHEAD.before, UTC)
    session(database, before - timedelta(hours=2), before - timedelta(minutes=10))
    for again in (False, True):
        await heal(database, AHEAD, again=again)
        [(idle_until, expires_at)] = look(database, "SELECT idle_until, expires_at FROM sessions")
        assert (idle_until, expires_at) == (NOW + timedelta(minutes=20), NOW + timedelta(hours=6))


async def test_a_session_that_was_over_before_the_doubt_stays_over(database: Database) -> None:
    since = datetime.fromtimestamp(AHEAD.since, UTC)
    session(database, since - timedelta(hours=2), since - timedelta(minutes=31))
    await heal(database, AHEAD)
    assert look(database, "SELECT idle_until FROM sessions") == [(since - timedelta(minutes=1),)]


async def test_links_and_tokens_of_a_clock_ahead_are_given_no_more_time_than_others(database: Database) -> None:
    arrange(
        database,
        TENANT,
        USER,
        "INSERT INTO links (link_hash, purpose, user_id, tenant_id, expires_at)"
        f" SELECT sha256('x'), 'password', user_id, tenant_id, {at(WRONG)} FROM users",
        "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
        f" SELECT sha256('x'), user_id, tenant_id, 't', '{{read}}', {at(WRONG)}, {at(WRONG)} + interval '90 days'"
        " FROM users",
    )
    await heal(database, None)
    assert look(database, "SELECT expires_at FROM links") == [(NOW + timedelta(days=1),)]
    assert look(database, "SELECT created_at, expires_at FROM api_tokens") == [(NOW, NOW + timedelta(days=90))]


def test_a_batch_received_before_the_step_and_committed_after_it_is_healed_as_well() -> None:
    book, now = StateBook(10), round(NOW.timestamp() * 1e6)
    book.heal(now, None)  # nothing has stepped yet
    book.heal(now, ClockStep(-round(3650 * 86_400e6), round(SKEW * 1e6)))
    late = DeviceState("acme", "d")
    late.seen_at = late.last_ts = round(WRONG.timestamp() * 1e6)
    book.touch(late)
    book.heal(now, None)
    assert (late.seen_at, late.last_ts) == (now, now)
    assert book.unbroken_since == now


class HeldClock(TrustedClock):
    """A clock that notes whether its settled time is held."""

    def __init__(self) -> None:
        self.held: float | None = None

    def now(self) -> float:
        return NOW.timestamp()

    def monotonic(self) -> float:
        return trio.current_time()

    def hold(self, at: float) -> None:
        self.held = at

    def release(self) -> None:
        self.held = None


async def test_settled_time_is_held_until_each_step_is_healed(database: Database) -> None:
    session(database, NOW, NOW - timedelta(hours=15))
    clock = HeldClock()
    healed: list[float | None] = []
    async with (
        open_pool(database.conninfo(INGEST), name="healing", min_size=1, max_size=1) as pool,
        trio.open_nursery() as nursery,
    ):
        service = healing.Healing(pool, "one", clock, SKEW, lambda: healed.append(clock.held))
        await nursery.start(service.run)
        for count in (1, 2):  # the second before the first is healed again
            service.note(AHEAD)
            assert clock.held == AHEAD.since
            with trio.fail_after(30):
                while len(healed) < count or clock.held is not None:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert healed == [AHEAD.since] * 2


async def test_notices_of_a_clock_ahead_are_due_in_the_present(database: Database) -> None:
    routes.add_route(database, routes.add_integration(database, TENANT_ID), TENANT_ID)
    ahead, late = alerts.add_alert(database, created_at=WRONG), alerts.add_alert(database, created_at=NOW)
    held = f"next_run_at = {at(WRONG + timedelta(hours=1))}, reason = 'quiet_hours'"
    reminder = (
        "INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, created_at, next_run_at)"
        f" SELECT tenant_id, alert_id, route_id, integration_id, 'REMINDER', {at(NOW)}, {at(NOW + timedelta(days=1))}"
        f" FROM delivery_jobs WHERE alert_id = {late}"
    )
    arrange(
        database,
        f"UPDATE delivery_jobs SET {held}, unreachable_since = {at(WRONG)} WHERE alert_id = {late}",
        reminder,
        "INSERT INTO integration_health (tenant_id, integration_id, failures, breaker_opened_at, next_probe_at)"
        f" SELECT tenant_id, integration_id, 5, {at(WRONG)}, {at(WRONG)} FROM integrations",
    )
    await heal(database, None)
    query = "SELECT alert_id, event, created_at, next_run_at, unreachable_since FROM delivery_jobs ORDER BY job_id"
    assert look(database, query) == [
        (ahead, "OPEN", NOW, NOW, None),
        (late, "OPEN", NOW, NOW, NOW),
        (late, "REMINDER", NOW, NOW + timedelta(days=1), None),
    ]
    assert look(database, "SELECT breaker_opened_at, next_probe_at FROM integration_health") == [(NOW, NOW)]
