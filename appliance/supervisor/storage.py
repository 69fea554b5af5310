"""The first stage: Postgres, its schema, and the connections to it."""

from dataclasses import dataclass
from functools import partial

import structlog
from psycopg.conninfo import make_conninfo

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.alerts.maintenance.book import MAINTENANCE_CHANNEL
from appliance.children.postgres import Postgres
from appliance.db import bootstrap, collations
from appliance.db.changes import Changes, Connect
from appliance.db.endpoint import DATABASE, Endpoint
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST, ROLES, WEB
from appliance.db.trio_psycopg import connect
from appliance.delivery.integrations.integration import ROUTES_CHANNEL
from appliance.delivery.outbox.job import DELIVERIES_CHANNEL
from appliance.devices.registry.cache import REGISTRY_CHANNEL
from appliance.diagnostics import reports
from appliance.diagnostics.health import DatabaseHealth
from appliance.ingest.quarantine.replays import REPLAY_CHANNEL
from appliance.ingest.telemetry.partitions import keep_ahead
from appliance.offboarding.deletion import OFFBOARDING_CHANNEL
from appliance.peers.attendance import Attendance
from appliance.service_clock.confirmations import CLOCK_CHANNEL
from appliance.supervisor import timekeeping
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.room import persist, some_room
from appliance.upgrade.migration import MigrationOptions, Upgrade

log = structlog.get_logger(__name__)

SUPERUSER = "postgres"
"""The superuser of the embedded Postgres; used to prepare it, never to serve."""
ANY_DATABASE = "postgres"
"""A database of the embedded Postgres that is there from the first moment; ours may not be yet."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The database, ready to be used."""

    postgres: Postgres | None
    """The embedded server; None when the database is elsewhere."""
    endpoint: Endpoint
    pool: Pool
    """Connections of ``appliance_ingest``."""
    web_pool: Pool
    """Connections of ``appliance_web``."""
    health: DatabaseHealth
    changes: Changes
    """What the database tells; caches subscribe in later stages."""
    open_connection: Connect
    """Opens a connection of its own as ``appliance_ingest``."""
    newest_receipt: float | None
    """When this instance last received something, in seconds since 1970; None if never."""


async def open_storage(base: Foundation) -> Storage:
    """Start Postgres if it is ours, bring the schema up to date, and open the connections."""
    tree, size = base.tree, base.config.database.pool_size
    postgres, endpoint = await _open_database(base)
    open_connection = partial(connect, endpoint.conninfo(INGEST))
    await tree.start("attendance", Attendance(open_connection, base.instance).run)
    pool = await tree.open(
        "connections",
        open_pool(endpoint.conninfo(INGEST), name="ingest", min_size=2, max_size=size),
        report=reports.report_connections,
    )
    await _judge_collations(pool)
    newest = await persist(base.disk, partial(timekeeping.settle_start, base, pool), what="clock")
    await tree.start("partitions", keep_ahead, pool, base.clock, base.config.retention.days)
    web_pool = await tree.open(
        "dashboard connections",
        open_pool(endpoint.conninfo(WEB), name="web", min_size=1, max_size=size),
        report=reports.report_connections,
    )
    health = DatabaseHealth()
    await tree.start("database health", health.watch, pool, report=reports.report_database(health))
    channels = [
        REGISTRY_CHANNEL,
        REPLAY_CHANNEL,
        CLOCK_CHANNEL,
        MAINTENANCE_CHANNEL,
        ALERTS_CHANNEL,
        ROUTES_CHANNEL,
        DELIVERIES_CHANNEL,
        OFFBOARDING_CHANNEL,
    ]
    changes = Changes(open_connection, channels)
    await tree.start("database changes", changes.run)
    return Storage(postgres, endpoint, pool, web_pool, health, changes, open_connection, newest)


async def _open_database(base: Foundation) -> tuple[Postgres | None, Endpoint]:
    """Return Postgres, started if it is ours, with its roles, database and schema as this program needs them."""
    postgres, url = None, base.config.database.url
    if url is None:
        roles = [role.name for role in ROLES]
        postgres = server = Postgres(
            base.data,
            roles=roles,
            clock=base.clock,
            disk_full=base.disk.look,
            max_bytes=base.config.retention.max_bytes,
        )
        report = reports.report_child(lambda: server.status, lambda: str(server.programs.major))
        _, place = await base.tree.start("postgres", postgres.run, report=report)
        endpoint = Endpoint.local(place.socket_dir, place.port)
        own = make_conninfo(endpoint.base, user=SUPERUSER, dbname=ANY_DATABASE)
        await some_room(base.disk)
        await persist(base.disk, partial(bootstrap.prepare_own, own, DATABASE), what="database")
    else:
        endpoint = Endpoint.external(url.reveal())
        await bootstrap.prepare(endpoint.base, endpoint.database)
    upgrade = Upgrade(
        endpoint, base.config, base.data.path, clock=base.clock, options=MigrationOptions(), failpoint=base.failpoints
    )
    await persist(base.disk, upgrade.run, what="schema")
    await some_room(base.disk)
    return postgres, endpoint


async def _judge_collations(pool: Pool) -> None:
    """Log which indexes may miss rows, since text sorts otherwise than when they were built."""
    async with pool.connection() as connection:
        for each in await collations.changed(connection):
            log.warning(
                "text sorts otherwise than in the indexes",
                cause=each.text,
                indexes=list(each.indexes),
                mend="appliance doctor --mend",
            )
