"""Days of readings in a database, and what drops them."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from appliance.db.partitions import ensure_partitions
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.retention import TelemetryRetention
from appliance.metrics import Metrics
from tests.support.clock import TrustedClock
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.tenants import ingest

TENANTS = ("acme", "rival")


@dataclass
class Clock(TrustedClock):
    """A clock that stands still."""

    at: datetime
    trusted: bool = True

    def now(self) -> float:
        return self.at.timestamp()

    def monotonic(self) -> float:
        return time.monotonic()


async def make_days(database: Database, first: date, last: date) -> None:
    """Make the partitions of these days, both included; nothing is in them."""
    async with ingest(database) as connection:
        await ensure_partitions(connection, first, last)


def store(database: Database, day: date, readings: int = 1, *, tenant: str = TENANTS[0]) -> None:
    """Store readings of noon of that day, and count them in the ledger as the writer does."""
    arrange(
        database,
        f"INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        f" SELECT '{tenant}', 'd-' || n % 3, 'telemetry', '{day} 12:00Z', n, '{day} 12:00Z', false, false,"
        f"  jsonb_build_object('t', n)"
        f" FROM generate_series(1, {readings}) AS n",
        f"INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored)"
        f" VALUES ('{day} 12:00Z', 'one', '{tenant}', {readings}, {readings})",
    )


def queue_hour(database: Database, day: date, hour: int) -> None:
    """Queue an hour of a day for its roll-up."""
    at = f"{day} {hour:02}:00Z"
    arrange(
        database,
        f"INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at) VALUES ('acme', 'd-1', '{at}', '{at}')",
    )


@asynccontextmanager
async def retention(
    database: Database,
    now: datetime,
    *,
    keep_days: int,
    trusted: bool = True,
    instance: str = "one",
    failpoint: Callable[[str], None] = lambda _name: None,
) -> AsyncIterator[TelemetryRetention]:
    """Open what drops days, of one process."""
    async with open_pool(database.conninfo(INGEST), name="retention", min_size=1, max_size=2) as pool:
        clock = Clock(now, trusted)
        dropper = DayDropper(pool, instance, Metrics(), failpoint)
        yield TelemetryRetention(pool, clock, dropper, keep_days=keep_days, metrics=Metrics())


def days(database: Database) -> list[date]:
    """Return the days that have a partition."""
    names = look(
        database,
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'telemetry'::regclass ORDER BY 1",
    )
    return [datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for (name,) in names]


def span(first: date, number: int) -> list[date]:
    """Return so many days from ``first`` on."""
    return [first + timedelta(days=n) for n in range(number)]
