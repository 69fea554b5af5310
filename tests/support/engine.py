"""The engine of alerts over the ingest half of an appliance."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import trio

from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.observer import RuleObserver
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.rule_book import RULES_CHANNEL, RuleBook
from appliance.alerts.engine.upkeep import Upkeep
from appliance.alerts.rules import in_force
from appliance.alerts.rules.rule import AlertRule
from appliance.clock import Clock, SystemClock
from appliance.db.changes import Changes
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.registry.cache import REGISTRY_CHANNEL
from appliance.metrics import Metrics
from tests.support.pipeline import TENANT, IngestStack, look, open_ingest
from tests.support.postgres_server import Database

NO_SCOPE: dict[str, list[str]] = {}


def add_rule(
    database: Database,
    parameters: dict[str, Any],
    *,
    kind: str = "threshold",
    name: str = "Too warm",
    severity: str = "high",
    scope: dict[str, list[str]] = NO_SCOPE,
    tenant: str = TENANT,
) -> UUID:
    """Add a rule as the superuser; return its id."""
    statement = """
        INSERT INTO alert_rules (
          tenant_id, name, severity, kind, parameters, site_ids, tags, device_prefixes, device_ids,
          created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, now(), now()) RETURNING rule_id"""
    lists = [scope.get(key, []) for key in ("site_ids", "tags", "device_prefixes", "device_ids")]
    encoded = msgspec.json.encode(parameters).decode()
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        row = connection.execute(statement.encode(), [tenant, name, severity, kind, encoded, *lists]).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


@dataclass
class Engine:
    """A running engine with its pipeline."""

    stack: IngestStack
    book: RuleBook
    observer: RuleObserver
    upkeep: Upkeep
    failed: list[tuple[PlannedRule, str]]


@asynccontextmanager
async def open_engine(
    database: Database,
    *,
    instance: str = "one",
    clock: Clock | None = None,
    shared: bool = False,
    reopen_after: float = 86_400.0,
    capacity: int = 10_000,
    failpoint: Callable[[str], None] = lambda _name: None,
    conninfo: str | None = None,
    **options: Any,
) -> AsyncIterator[Engine]:
    """Open a pipeline whose batches are judged by the rules in the database."""
    clock = clock or SystemClock()
    failed: list[tuple[PlannedRule, str]] = []

    async def mark(planned: PlannedRule, error: str, _now: datetime) -> None:
        failed.append((planned, error))

    async with (
        open_pool(database.conninfo(INGEST), name="engine", min_size=1, max_size=4) as pool,
        trio.open_nursery() as nursery,
    ):

        async def load(tenants: Sequence[str] | None) -> list[AlertRule]:
            async with pool.connection() as connection:
                found = (
                    in_force.load_rules(connection) if tenants is None else in_force.load_rules_of(connection, tenants)
                )
                return (await found).rules

        book, memories = RuleBook(load, capacity), Memories(pool)
        upkeep = Upkeep(pool, instance, clock, book, memories, Metrics(), mark, reopen_after)
        await nursery.start(book.run)
        await nursery.start(memories.run)
        await nursery.start(upkeep.run)
        channels = (RULES_CHANNEL, REGISTRY_CHANNEL)
        changes = Changes(lambda: connect(database.conninfo(INGEST)), channels)
        changes.subscribe(RULES_CHANNEL, book.rules_changed, book.rules_missed)
        changes.subscribe(REGISTRY_CHANNEL, book.devices_changed, book.devices_missed)
        await nursery.start(changes.run)
        observer = RuleObserver(book, memories, clock, Metrics(), lambda: shared, upkeep.failed)
        async with open_ingest(
            database,
            conninfo=conninfo,
            failpoint=failpoint,
            instance=instance,
            clock=clock,
            further_observers=[observer],
            **options,
        ) as stack:
            yield Engine(stack, book, observer, upkeep, failed)
        nursery.cancel_scope.cancel()


def alerts(database: Database, columns: str = "device_id, status, trigger_count") -> list[tuple[Any, ...]]:
    """Return the alerts in the order in which they were written."""
    return look(database, f"SELECT {columns} FROM fleet_alert ORDER BY id")


def timeline(database: Database) -> list[str]:
    """Return the kinds of all events, in order."""
    return [row[0] for row in look(database, "SELECT kind FROM alert_events ORDER BY id")]
