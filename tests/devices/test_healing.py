"""Healing beside the stream: it may take seconds, and no reading waits for it."""

import time
from datetime import UTC, datetime, timedelta

import trio

from appliance.clock import Correction
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices import healing
from appliance.ingest.batch import Accepted
from tests.support.clock import DoubtfulClock
from tests.support.pipeline import furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database


async def test_readings_are_stored_while_states_are_being_healed(database: Database) -> None:
    """Of an instance whose own mark lies in the future, too: every batch writes the row that it is in."""
    await furnish(database)
    now = float(int(time.time()))
    ahead = now + 86_400
    async with open_ingest(database, clock=DoubtfulClock(ahead, ahead, trusted=True)) as stack:
        await stack.send(telemetry("ahead", b'{"n":1}'), received=ahead)
        await until(lambda: look(database, "SELECT 1 FROM ingest_instances WHERE state_written_at > now()"))
    at = datetime.fromtimestamp(now, UTC)
    correction = Correction(at, at + timedelta(minutes=10), None)
    async with (
        await connect(database.conninfo(INGEST)) as healer,
        await connect(database.conninfo(INGEST)) as other,
        trio.open_nursery() as nursery,
        other.transaction(),
    ):
        await other.execute("SELECT 1 FROM device_state WHERE device_id = 'ahead' FOR UPDATE")

        async def heal() -> None:
            async with healer.transaction():
                assert await healing.heal(healer, "one", correction) == 1

        nursery.start_soon(heal)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
        await until(lambda: look(database, waiting))
        async with open_ingest(database) as stack:
            assert await stack.send(telemetry("d-1", b'{"n":1}')) == [Accepted.STORED]
    assert look(database, "SELECT 1 FROM device_state WHERE last_seen_at > now() + interval '1 hour'") == []
