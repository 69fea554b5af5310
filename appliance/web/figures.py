"""What the Overview tells from the database, read at most every two seconds however many pages ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.fleet import SiteTally
from appliance.subscriptions import store as subscriptions
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access import Access
from appliance.web.auth import Viewer

MAX_AGE = 2.0
"""Seconds for which numbers are good enough."""
DEADLINE = 5.0
"""Seconds for the turn, a connection and all statements of one reading."""
LARGE_FLEET = 2000
"""Devices whose counting takes so long that it is done less often."""
FLEET_AGE = 10.0
"""Seconds that a count of such a fleet is good for."""
MAX_SCOPES = 64
"""Views (tenant and start of day) whose numbers are kept."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The books since ``since``, as they stood at ``read_at``; both in seconds since 1970-01-01 UTC."""

    since: float
    read_at: float
    sites: Sequence[SiteTally]
    subscriptions: Sequence[Subscription]
    people: int
    received: int
    stored: int
    refused: int
    duplicate: int
    held: int
    """Messages that wait in quarantine for a decision."""
    held_since: float | None
    """When the oldest of them came in."""
    reasons: Mapping[str, int]
    """Refused messages by reason code, most first."""

    @property
    def devices(self) -> int:
        """All that are registered."""
        return sum(site.total for site in self.sites)


Scope = tuple[bool, str | None, float]


class FigureReader:
    """Reads figures, one view at a time: a customer's under row-level security, an operator's of all tenants."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._queries = statements.load("web")
        self._known: dict[Scope, tuple[float, Figures]] = {}
        self._fleets: dict[str | None, tuple[float, list[SiteTally]]] = {}
        self._reading = trio.Lock()

    async def read(self, seen_by: Viewer, tenant: str | None, since: float) -> Figures:
        """The figures of a tenant, or of all, as ``seen_by`` may see them.

        Raises what the pool raises when Postgres is away.
        """
        # The deadline holds for the turn too: of many who ask in vain nobody waits for the others' time to run out.
        scope = (seen_by.is_operator, tenant, since)
        with trio.fail_after(DEADLINE):
            async with self._reading:
                known = self._known.get(scope)
                if known is not None and self._clock.monotonic() - known[0] < MAX_AGE:
                    return known[1]
                figures = await self._query(seen_by, tenant, since)
                if len(self._known) >= MAX_SCOPES:
                    self._known.clear()
                self._known[scope] = (self._clock.monotonic(), figures)
                return figures

    def last_known(self, seen_by: Viewer, tenant: str | None, since: float) -> Figures | None:
        """The figures as last read for such a viewer, however old."""
        known = self._known.get((seen_by.is_operator, tenant, since))
        return None if known is None else known[1]

    async def _query(self, seen_by: Viewer, tenant: str | None, since: float) -> Figures:
        now = self._clock.wall()
        parameters = {
            "tenant": tenant,
            "since": datetime.fromtimestamp(since, UTC),
        }
        async with self._access.reading(seen_by) as connection:
            sites = await self._sites(connection, tenant)
            owned = await subscriptions.list_all(connection, tenant)
            (people,) = await self._row(connection, "count_people", parameters)
            received, stored, refused, duplicate = await self._row(connection, "sum_books", parameters)
            held, held_since = await self._row(connection, "count_held", parameters)
            cursor = await connection.execute(self._queries["sum_reasons"], parameters)
            reasons = dict(await cursor.fetchall())
        return Figures(
            since=since,
            read_at=now,
            sites=sites,
            subscriptions=owned,
            people=people,
            received=received,
            stored=stored,
            refused=refused,
            duplicate=duplicate,
            held=held,
            held_since=None if held_since is None else held_since.timestamp(),
            reasons=reasons,
        )

    async def _sites(self, connection: Connection, tenant: str | None) -> list[SiteTally]:
        """The devices by site; those of a large fleet as counted a few seconds ago."""
        counted_at, known = self._fleets.get(tenant, (0.0, []))
        if sum(site.total for site in known) >= LARGE_FLEET and self._clock.monotonic() - counted_at < FLEET_AGE:
            return known
        if len(self._fleets) >= MAX_SCOPES:
            self._fleets.clear()
        sites = await fleet.by_site(connection, tenant)
        self._fleets[tenant] = (self._clock.monotonic(), sites)
        return sites

    async def _row(self, connection: Connection, name: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """The one row of an aggregate."""
        cursor = await connection.execute(self._queries[name], parameters)
        return await cursor.fetchone() or ()
