"""A fleet whose devices fall silent at the times of a test's clock: rows as ingest writes them, and the timer."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from appliance.alerts.silence.site import SitePolicy
from appliance.alerts.silence.timer import SilencePolicy, SilenceTimer
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database
from tests.support.tenants import GRACE, NOW, TENANT, add_tenant, ingest, rows, sell

DAY = 86_400.0
POLICY = SilencePolicy(SitePolicy(devices=3, share=0.8), reopen_after=DAY, grace=GRACE)


class HeldClock(DoubtfulClock):
    """A clock whose settled time can be held, as that of the process is until a doubt is healed."""

    held_at: float | None = None

    def settled(self) -> float:
        """Return the service time, or that at which it is held."""
        return super().settled() if self.held_at is None else self.held_at


class Fleet:
    """Devices of TENANT, heard when a test says so. Its time is in seconds after NOW."""

    def __init__(self, connection: Connection[Any], pool: Pool) -> None:
        self.connection = connection
        self.pool = pool
        self.clock = HeldClock(NOW.timestamp(), NOW.timestamp(), trusted=True)
        self.timer = SilenceTimer(pool, self.clock, POLICY)
        self.subscription = ""
        self._began: dict[str, float] = {}

    def another_timer(self) -> SilenceTimer:
        """Return the timer of another appliance on the same database."""
        return SilenceTimer(self.pool, self.clock, POLICY)

    async def add(self, *devices: str, site: str | None = None, interval: float | None = None, tags: str = "") -> None:
        """Register ACTIVE devices; nothing was heard of them."""
        await self.connection.execute(
            "INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, site_id, interval_seconds,"
            " tags, created_at, updated_at)"
            " SELECT %s, d, 'ACTIVE', %s, %s, %s, %s, %s, %s FROM unnest(%s::text[]) AS d",
            [TENANT, self.subscription, site, interval, tags.split(), NOW, NOW, list(devices)],
        )
        await self.connection.execute(
            "INSERT INTO device_state (tenant_id, device_id) SELECT %s, unnest(%s::text[])", [TENANT, list(devices)]
        )

    async def hear(self, *devices: str, at: float, by: str | None = None) -> None:
        """Take a message of each device, ``at`` seconds after NOW."""
        await self.connection.execute(
            "UPDATE device_state SET last_seen_at = %(at)s, last_heard_at = %(at)s, last_ts = %(at)s,"
            " offline_at = NULL, heard_by = %(by)s WHERE device_id = ANY(%(devices)s)",
            {"at": NOW + timedelta(seconds=at), "devices": list(devices), "by": by},
        )

    async def refuse(self, *devices: str, at: float) -> None:
        """Refuse a message of each device."""
        await self.connection.execute(
            "UPDATE device_state SET last_heard_at = %(at)s, refused_at = %(at)s, refused_reason = 'SITE_MISMATCH',"
            " offline_at = NULL WHERE device_id = ANY(%(devices)s)",
            {"at": NOW + timedelta(seconds=at), "devices": list(devices)},
        )

    async def measure(self, device: str, metric: str, *, at: float) -> None:
        """Note when a metric came, as the engine does."""
        micros = round((NOW.timestamp() + at) * 1_000_000)
        await self.connection.execute(
            "UPDATE device_state SET metric_times = metric_times || jsonb_build_object(%s::text, %s::bigint)"
            " WHERE device_id = %s",
            [metric, micros, device],
        )

    async def listen(self, began: float, ended: float, by: str = "one") -> None:
        """Record that an appliance listened from ``began`` to ``ended``, seconds after NOW."""
        await self.connection.execute(
            "INSERT INTO ingest_instances (instance) VALUES (%s) ON CONFLICT DO NOTHING", [by]
        )
        await self.connection.execute(
            "INSERT INTO listening VALUES (%s, %s, %s) ON CONFLICT (instance, began_at) DO UPDATE"
            " SET ended_at = EXCLUDED.ended_at",
            [by, NOW + timedelta(seconds=began), NOW + timedelta(seconds=ended)],
        )

    async def round(self, at: float) -> None:
        """Make a round at a time up to which ``one`` listened without a break."""
        await self.listen(-10 * DAY, at)
        await self.look(at)

    async def look(self, at: float) -> None:
        """Make a round; who listened is up to the test."""
        self.clock.at = NOW.timestamp() + at
        await self.timer.make_round()

    async def alerts(self, where: str = "status <> 'CLOSED'") -> list[tuple[Any, ...]]:
        """Return (type, device, inhibited) of alerts, in order of their ids."""
        return await rows(
            self.connection,
            f"SELECT alert_type, device_id, inhibited_by IS NOT NULL FROM fleet_alert WHERE {where} ORDER BY id",
        )

    async def told(self) -> list[tuple[Any, ...]]:
        """Return (type, device) of the open alerts that people are told of: those that nothing stands for."""
        return [(kind, device) for kind, device, inhibited in await self.alerts() if not inhibited]

    async def events(self, *kinds: str) -> list[tuple[Any, ...]]:
        """Return (event, type, device) of all timelines, in order."""
        return await rows(
            self.connection,
            "SELECT e.kind, a.alert_type, a.device_id FROM alert_events AS e JOIN fleet_alert AS a ON a.id = e.alert_id"
            " WHERE %s::text[] = '{}' OR e.kind = ANY(%s) ORDER BY e.id",
            list(kinds),
            list(kinds),
        )

    async def column(self, name: str, where: str = "true") -> list[Any]:
        """Return one column of the alerts, in order of their ids."""
        found = await rows(self.connection, f"SELECT {name} FROM fleet_alert WHERE {where} ORDER BY id")
        return [value for (value,) in found]

    async def add_rule(
        self, parameters: str, *, devices: Iterable[str] = (), name: str = "own", at: float = -DAY
    ) -> None:
        """Make a rule about silence."""
        await self.connection.execute(
            "INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, device_ids, created_at, updated_at)"
            " VALUES (%s, %s, 'medium', 'no_data', %s::text::jsonb, %s, %s, %s)",
            [TENANT, name, parameters, list(devices), *[NOW + timedelta(seconds=at)] * 2],
        )

    async def change_rule(self, change: str, at: float = 0, which: str = "built_in IS NOT NULL") -> None:
        """Change a rule as a person does."""
        await self.connection.execute(
            f"UPDATE alert_rules SET {change}, updated_at = %s WHERE {which}".encode(),
            [NOW + timedelta(seconds=at)],
        )

    async def close(self, at: float, where: str = "status <> 'CLOSED'") -> None:
        """Close alerts as a person does."""
        await self.connection.execute(
            f"UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, closed_by = 'alice', close_reason = 'closed'"
            f" WHERE {where}".encode(),
            [NOW + timedelta(seconds=at)],
        )


@asynccontextmanager
async def open_fleet(database: Database, limit: int = 20_000) -> AsyncIterator[Fleet]:
    """Open a tenant without devices, with a subscription that runs."""
    pool_of = open_pool(database.conninfo(INGEST), name="silence", min_size=1, max_size=4)
    async with ingest(database) as connection, pool_of as pool:
        await add_tenant(connection)
        fleet = Fleet(connection, pool)
        fleet.subscription = (await sell(connection, limit)).subscription_id
        yield fleet


def names(count: int, prefix: str = "d") -> list[str]:
    """Return d000, d001, ..."""
    return [f"{prefix}{number:03}" for number in range(count)]
