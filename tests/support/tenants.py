"""Tenants, subscriptions and devices for tests, and the check that seats balance whatever was done to them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from appliance.clock import Clock, SystemClock
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices import tenants
from appliance.devices.device import Device, NewDevice
from appliance.devices.registry.provisioning import Provisioner, ProvisioningRequest, ProvisioningResult, provision_once
from appliance.devices.tenants import IssuedClaim, Strategy
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType
from tests.support.postgres_server import Database

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE = Actor("alice@example.org", ActorKind.USER, "192.0.2.7")
BY = ChangeContext(ALICE, NOW, NOW, user_id=None)
LATER = replace(BY, now=NOW + timedelta(seconds=1))
"""The same person, a second later: the time of a change is its version."""
GRACE = timedelta(days=14)
"""As configured when nobody says otherwise."""
TENANT = "acme"
INGEST = "appliance_ingest"

OUT_OF_BALANCE = """
SELECT s.subscription_id, s.active_device_count, s.device_limit, count(d.device_id) AS active
FROM subscriptions AS s LEFT JOIN device_registry AS d
  ON d.tenant_id = s.tenant_id AND d.subscription_id = s.subscription_id AND d.status = 'ACTIVE'
WHERE %(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s
GROUP BY s.tenant_id, s.subscription_id, s.active_device_count, s.device_limit
HAVING s.active_device_count <> count(d.device_id) OR count(d.device_id) > s.device_limit
"""

ACTIVE_WITHOUT_SEAT = """
SELECT tenant_id, device_id, status, subscription_id FROM device_registry
WHERE (status = 'ACTIVE') <> (subscription_id IS NOT NULL) AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
"""


@asynccontextmanager
async def ingest(database: Database) -> AsyncIterator[Connection[Any]]:
    """Open a connection of the role under which ingest, workers and operators work."""
    async with await connect(database.conninfo(INGEST)) as connection:
        yield connection


@asynccontextmanager
async def customer(database: Database, tenant_id: str) -> AsyncIterator[Connection[Any]]:
    """Open a connection of the dashboard's role, in a transaction of this tenant."""
    async with await connect(database.conninfo("appliance_web")) as connection, connection.transaction():
        await connection.execute("SELECT set_config('appliance.tenant_id', %s, true)", [tenant_id])
        yield connection


async def add_tenant(connection: Connection[Any], tenant_id: str = TENANT, strategy: str = "auto") -> None:
    """Add a tenant without subscriptions."""
    await connection.execute(
        "INSERT INTO tenants (created_at, updated_at, tenant_id, provisioning) VALUES (now(), now(), %s, %s)",
        [tenant_id, strategy],
    )


async def issue_tenant(
    connection: Connection[Any],
    tenant_id: str = TENANT,
    *,
    name: str | None = None,
    strategy: Strategy = Strategy.AUTO,
    time_zone: str = "UTC",
) -> IssuedClaim:
    """Make a tenant as a person does, with its claim user."""
    return await tenants.add(connection, tenant_id, BY, name=name, provisioning=strategy, time_zone=time_zone)


def provisioner_of(pool: Pool, *, max_wait: float = 5.0, clock: Clock | None = None) -> Provisioner:
    """A provisioner as it is configured when nobody says otherwise."""
    return Provisioner(pool, grace=GRACE, max_wait=max_wait, clock=clock or SystemClock())


async def sell(
    connection: Connection[Any],
    limit: int,
    kind: SubscriptionType = SubscriptionType.MAIN,
    *,
    tenant_id: str = TENANT,
    term: timedelta = timedelta(days=365),
    now: datetime = NOW,
) -> Subscription:
    """Add a subscription that runs now."""
    new = store.NewSubscription(tenant_id, kind, limit, term)
    return await store.add(connection, new, replace(BY, now=now, settled=now), grace=GRACE)


async def announce(
    connection: Connection[Any], *devices: str, tenant_id: str = TENANT
) -> dict[str, ProvisioningResult]:
    """Have devices send their first messages; return the verdicts by device id."""
    requests = [ProvisioningRequest(tenant_id, device) for device in devices]
    verdicts = await provision_once(connection, requests, now=NOW, settled=NOW, grace=GRACE)
    return {device: verdict for (_, device), verdict in verdicts.items()}


async def seats_taken(connection: Connection[Any], tenant_id: str = TENANT) -> list[int]:
    """Return the seats taken of the tenant's subscriptions, ordered by id."""
    return [row.active_device_count for row in await store.list_all(connection, tenant_id)]


async def rows(connection: Connection[Any], query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    return await (await connection.execute(query.encode(), parameters)).fetchall()


def check_seats(database: Database, tenant_id: str | None = None) -> None:
    """Check P7 of one tenant or of all, from a connection that has nothing to do with whoever wrote."""
    with psycopg.connect(database.conninfo()) as connection:
        for query in (OUT_OF_BALANCE, ACTIVE_WITHOUT_SEAT):
            assert connection.execute(query.encode(), {"tenant": tenant_id}).fetchall() == []


def many(count: int, prefix: str = "d") -> list[NewDevice]:
    """Return devices d00000, d00001, ..."""
    return [NewDevice(f"{prefix}{number:05}") for number in range(count)]


def registered(verdicts: Iterable[ProvisioningResult]) -> list[Device]:
    """Return those that are registered and ACTIVE."""
    return [verdict for verdict in verdicts if isinstance(verdict, Device)]
