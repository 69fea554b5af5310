"""Telemetry has a partition for every UTC day asked for, whoever asks and how often."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.db import roles
from appliance.db.partitions import ensure_partitions
from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support.postgres_server import Database

DAY = date(2026, 11, 23)
INSERT = """
INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
VALUES ('acme', 'pump', 'telemetry', %s, 1, now(), false, false, '{}')
"""


async def names(connection: Connection[Any]) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'telemetry'::regclass ORDER BY 1"
    return [name for (name,) in await (await connection.execute(query)).fetchall()]


async def test_the_days_are_made_once(database: Database) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as connection:
        assert await ensure_partitions(connection, DAY, DAY + timedelta(2)) == 3
        assert await ensure_partitions(connection, DAY - timedelta(1), DAY + timedelta(2)) == 1
        assert await ensure_partitions(connection, DAY, DAY) == 0
        assert await ensure_partitions(connection, DAY, DAY - timedelta(1)) == 0
        assert await names(connection) == [f"telemetry_202611{day}" for day in (22, 23, 24, 25)]


async def test_a_day_is_a_day_of_utc_whatever_the_session_thinks(database: Database) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as connection:
        await connection.execute("SET timezone = 'Pacific/Kiritimati'")
        await ensure_partitions(connection, DAY, DAY)
        midnight = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
        for inside in (midnight, midnight + timedelta(days=1, microseconds=-1)):
            await connection.execute(INSERT, [inside])
        for outside in (midnight - timedelta(microseconds=1), midnight + timedelta(days=1)):
            with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
                await connection.execute(INSERT, [outside])


async def test_many_may_ask_at_once(database: Database) -> None:
    made: list[int] = []

    async def ask() -> None:
        async with await connect(database.conninfo(roles.INGEST)) as connection:
            made.append(await ensure_partitions(connection, DAY, DAY + timedelta(9)))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask)
    assert sum(made) == 10


async def test_nobody_who_writes_or_reads_is_waited_for(database: Database) -> None:
    async with (
        await connect(database.conninfo(roles.INGEST)) as writer,
        await connect(database.conninfo(roles.INGEST)) as maker,
    ):
        await ensure_partitions(maker, DAY, DAY)
        async with writer.transaction():
            await writer.execute(INSERT, [datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)])
            await writer.execute("SELECT count(*) FROM telemetry")
            with trio.fail_after(10):
                assert await ensure_partitions(maker, DAY + timedelta(1), DAY + timedelta(1)) == 1


async def test_a_span_nobody_needs_is_refused(database: Database) -> None:
    async with await connect(database.conninfo(roles.INGEST)) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await ensure_partitions(connection, date(1, 1, 1), DAY)


async def test_only_ingest_may_make_them(database: Database, observer: Observer) -> None:
    async with await connect(database.conninfo(roles.WEB)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await ensure_partitions(connection, DAY, DAY)
    assert await names(observer.connection) == []
