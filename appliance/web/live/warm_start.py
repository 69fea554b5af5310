"""Fills the live view from the database at the start, so that it is not empty after a restart."""

from datetime import UTC, datetime

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.ingest.summary import LastReading
from appliance.reading import Kind
from appliance.web.live.feed import READINGS, LiveFeed, MinuteCount
from appliance.web.live.rates import HOUR


async def remember(feed: LiveFeed, pool: Pool, clock: Clock) -> None:
    """Fill ``feed`` with the last hour. Raises what the pool raises when Postgres is not reachable."""
    async with pool.connection() as connection:
        readings = await last_readings(connection, READINGS, None, None)
        minutes = await _minutes(connection, clock.now() - HOUR)
    feed.remember(readings, minutes)


async def last_readings(connection: Connection, limit: int, tenant: str | None, site: str | None) -> list[LastReading]:
    """Return the newest reading of each device heard last, oldest first; ``site`` '': devices without a site."""
    parameters = {"limit": limit, "tenant": tenant, "site": site}
    cursor = await connection.execute(statements.load("web")["last_readings"], parameters)
    return [
        LastReading(tenant, device, ts.timestamp(), received.timestamp(), Kind(kind), metrics)
        for tenant, device, ts, received, kind, metrics in reversed(await cursor.fetchall())
    ]


async def _minutes(connection: Connection, since: float) -> list[MinuteCount]:
    """Return the accounting by minute and tenant, oldest first."""
    parameters = {"since": datetime.fromtimestamp(since, UTC)}
    cursor = await connection.execute(statements.load("web")["minutes"], parameters)
    return [
        MinuteCount(minute.timestamp(), accepted, refused, tenant)
        for minute, tenant, accepted, refused in await cursor.fetchall()
    ]
