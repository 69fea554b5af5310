"""Chores beside the stream."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from appliance import housekeeping
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.metrics import store
from appliance.runtime.activity import Activity, enter
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database


async def test_what_devices_begin_to_send_is_learned_while_the_appliance_runs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LEARN_INTERVAL", 0.01)
    async with (
        open_pool(database.conninfo(INGEST), name="chores", min_size=1, max_size=1) as pool,
        await connect(database.conninfo()) as outside,
        trio.open_nursery() as nursery,
    ):
        await outside.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        await nursery.start(partial(housekeeping.learn_metrics, pool, SystemClock()))
        for device, latest in (("a", '{"temperature": 4}'), ("b", '{"temperature": 5, "humidity": 70}')):
            await outside.execute(
                "INSERT INTO device_state (tenant_id, device_id, last_heard_at, latest)"
                " VALUES ('acme', %s, now(), %s::text::jsonb)",
                [device, latest],
            )
            known: list[str] = []
            with trio.fail_after(10):
                while len(known) < latest.count(":"):
                    await trio.sleep(0.01)
                    page = await store.list_page(outside, "acme", limit=10)
                    known = [named.metric.title for named in page]
        assert known == ["Humidity", "Temperature"]
        nursery.cancel_scope.cancel()


async def test_maintenance_windows_go_90_days_after_their_end_and_never_in_doubt(database: Database) -> None:
    async with (
        open_pool(database.conninfo(INGEST), name="chores", min_size=1, max_size=1) as pool,
        await connect(database.conninfo()) as outside,
    ):
        await outside.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        await outside.execute(
            "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, name, kind, weekdays,"
            " start_time, length_minutes, time_zone, over_at) SELECT now(), 'x', now(), 'acme', name, 'weekly',"
            " '{sun}', '22:00', 60, 'UTC', over FROM (VALUES ('old', now() - interval '91 days'),"
            " ('recent', now() - interval '89 days'), ('endless', NULL)) AS w (name, over)"
        )
        now = SystemClock().now()
        for trusted, left in ((False, ["endless", "old", "recent"]), (True, ["endless", "recent"])):
            await _first_round(partial(housekeeping.run, pool, DoubtfulClock(now, now, trusted=trusted)))
            cursor = await outside.execute("SELECT name FROM maintenance_windows ORDER BY name")
            assert [name for (name,) in await cursor.fetchall()] == left


async def test_requests_to_renew_whose_keys_are_free_go_and_never_in_doubt(database: Database) -> None:
    async with (
        open_pool(database.conninfo(INGEST), name="chores", min_size=1, max_size=1) as pool,
        await connect(database.conninfo()) as outside,
    ):
        await outside.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        await outside.execute(
            "INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit,"
            " term_start, term_end, status) VALUES (now(), 'acme', 's', 'MAIN', 1, now(), now() + interval '9 days',"
            " 'ACTIVE')"
        )
        await outside.execute(
            "INSERT INTO renewal_requests (tenant_id, subscription_id, key, hash, again, changed, answer, asked_at,"
            " until) SELECT 'acme', 's', key, '', false, true, '{}', now() - interval '30 days', until FROM (VALUES"
            " ('free', now() - interval '1 minute'), ('kept', now() + interval '1 day')) AS k (key, until)"
        )
        now = SystemClock().now()
        for trusted, left in ((False, ["free", "kept"]), (True, ["kept"])):
            await _first_round(partial(housekeeping.run, pool, DoubtfulClock(now, now, trusted=trusted)))
            cursor = await outside.execute("SELECT key FROM renewal_requests ORDER BY key")
            assert [key for (key,) in await cursor.fetchall()] == left


async def test_answers_whose_keys_are_free_go_and_never_in_doubt(database: Database) -> None:
    async with (
        open_pool(database.conninfo(INGEST), name="chores", min_size=1, max_size=1) as pool,
        await connect(database.conninfo()) as outside,
    ):
        await outside.execute(
            "WITH someone AS (INSERT INTO users (created_at, email, role) VALUES (now(), 'a@b.example', 'operator')"
            " RETURNING user_id) INSERT INTO api_requests (user_id, key_hash, sealed, asked_at, until)"
            " SELECT user_id, sha256(key), key, now() - interval '1 day', until FROM someone,"
            " (VALUES ('free'::bytea, now() - interval '1 minute'), ('kept', now() + interval '1 day'))"
            " AS k (key, until)"
        )
        now = SystemClock().now()
        for trusted, left in ((False, [b"free", b"kept"]), (True, [b"kept"])):
            await _first_round(partial(housekeeping.run, pool, DoubtfulClock(now, now, trusted=trusted)))
            cursor = await outside.execute("SELECT sealed FROM api_requests ORDER BY sealed")
            assert [sealed for (sealed,) in await cursor.fetchall()] == left


async def _first_round(run: Callable[[], Awaitable[None]]) -> None:
    """Run chores until they rest for the first time."""
    record = Activity()
    enter(record)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(30):
            while record.words() is None:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
