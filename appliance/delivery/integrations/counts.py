"""How deliveries go, for lists: of each integration and route what was delivered, what failed, and what waits.

Reads only. What integrations are and where they lead is in :mod:`store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("delivery_counts")

COUNTED = timedelta(hours=24)
"""How far back deliveries are counted."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """An integration that is paused, since its last tries all failed."""

    failures: int
    """In a row."""
    next_probe_at: datetime | None


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What became of notices."""

    delivered: int = 0
    failed: int = 0
    waiting: int = 0
    """Those that a try has failed for, and that are tried again."""

    def __add__(self, other: "Deliveries") -> "Deliveries":
        return Deliveries(self.delivered + other.delivered, self.failed + other.failed, self.waiting + other.waiting)


NONE = Deliveries()


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How deliveries of a tenant, or of all, go now."""

    breakers: Mapping[UUID, Breaker]
    of_integration: Mapping[UUID, Deliveries]
    of_route: Mapping[UUID, Deliveries]
    routes: int
    """How many routes there are."""
    integrations: int


async def read(connection: Connection[Any], tenant_id: str | None, now: datetime) -> DeliveryCounts:
    """Return how deliveries go; ``tenant_id`` None: of all tenants."""
    parameters = {"tenant": tenant_id, "since": now - COUNTED}
    cursor = await connection.execute(STATEMENTS["breakers"], parameters, prepare=False)
    breakers = {identity: Breaker(failures, probe) for _, identity, failures, probe in await cursor.fetchall()}
    of_integration: dict[UUID, Deliveries] = {}
    of_route: dict[UUID, Deliveries] = {}
    cursor = await connection.execute(STATEMENTS["deliveries"], parameters, prepare=False)
    for _, route_id, integration_id, *counts in await cursor.fetchall():
        one = Deliveries(*counts)
        of_route[route_id] = of_route.get(route_id, NONE) + one
        of_integration[integration_id] = of_integration.get(integration_id, NONE) + one
    routes, integrations = await totals(connection, tenant_id)
    return DeliveryCounts(breakers, of_integration, of_route, routes, integrations)


async def totals(connection: Connection[Any], tenant_id: str | None) -> tuple[int, int]:
    """Return how many routes and how many integrations there are."""
    cursor = await connection.execute(STATEMENTS["count_both"], {"tenant": tenant_id})
    [(routes, integrations)] = await cursor.fetchall()
    return routes, integrations
