"""Hourly roll-ups: a roller over a database, and the query for hours that it has missed."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.history.roller import Roller
from tests.support.clock import TrustedClock
from tests.support.postgres_server import Database

UNCOVERED = """
SELECT t.device_id, t.hour, t.readings, (
    SELECT max(h.readings) FROM telemetry_hourly AS h
    WHERE h.tenant_id = t.tenant_id AND h.device_id = t.device_id AND h.hour = t.hour) AS rolled_up
FROM (
  SELECT tenant_id, device_id, date_trunc('hour', ts, 'UTC') AS hour, count(*) AS readings
  FROM telemetry GROUP BY 1, 2, 3
) AS t
WHERE NOT EXISTS (
    SELECT FROM telemetry_marks AS m
    WHERE m.tenant_id = t.tenant_id AND m.device_id = t.device_id AND m.hour = t.hour)
  AND t.readings IS DISTINCT FROM (
    SELECT max(h.readings) FROM telemetry_hourly AS h
    WHERE h.tenant_id = t.tenant_id AND h.device_id = t.device_id AND h.hour = t.hour)
"""
"""Hours of devices that charts would show wrongly. Holds for readings of which each has one metric, the same of all."""


@dataclass
class Clock(TrustedClock):
    """The machine's clock, or one so many seconds ahead of it."""

    ahead: float = 0.0
    trusted: bool = True

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@asynccontextmanager
async def roller(
    database: Database, *, ahead: float = 0.0, settle: float = -1.0, days: int = 400, trusted: bool = True
) -> AsyncIterator[Roller]:
    async with open_pool(database.conninfo(INGEST), name="roller", min_size=1, max_size=2) as pool:
        yield Roller(pool, Clock(ahead, trusted), keep_days=days, settle=settle)


async def roll(database: Database, *, ahead: float = 0.0) -> None:
    """Roll up all that is due."""
    async with roller(database, ahead=ahead) as made:
        while await made.roll():
            pass
