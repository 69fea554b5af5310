"""Chores beside the stream."""

from functools import partial

import pytest
import trio

from appliance import housekeeping
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.metrics import store
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
