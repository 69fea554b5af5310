"""What the Overview tells from the database, read at most every few seconds however many pages ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.fleet import SiteCounts
from appliance.ingest.summary import LastReading
from appliance.subscriptions import store as subscriptions
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.live import warm_start
from appliance.web.overview.choice import OverviewChoice

DEADLINE = 5.0
"""Seconds for the turn, a connection and all statements of one reading."""
LARGE_FLEET = 2000
"""Devices whose counting takes so long that it is done less often."""
FLEET_AGE = 10.0
"""Seconds that a count of such a fleet is good for."""
MAX_SCOPES = 64
"""Choices of viewers whose numbers are kept."""
LAST_READINGS = 12
"""Rows of the table of readings, the newest of each device."""


@dataclass(frozen=True, slots=True)
class AccountingRead:
    """What became of the messages of one step, which ``began`` in seconds since 1970-01-01 UTC."""

    began: float
    received: int
    stored: int
    refused: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class OverviewData:
    """How things stood at ``read_at``, and the books since ``since``; both in seconds since 1970-01-01 UTC.

    The books, reasons and what is held are of a whole tenant, whichever site was chosen: nobody counts them by site.
    """

    since: float
    read_at: float
    sites: Sequence[SiteCounts]
    """All of them, whichever was chosen."""
    subscriptions: Sequence[Subscription]
    people: int
    held: int
    """Messages that wait in quarantine for a decision."""
    held_since: float | None
    """When the oldest of them came in."""
    reasons: Mapping[str, int]
    """Refused messages by reason code, most first."""
    books: Sequence[AccountingRead] = ()
    """Step by step, oldest first; steps in which nothing came are left out, the last one still runs."""
    readings: Sequence[LastReading] = ()
    """Of a chosen site: the newest reading of each of the devices heard last."""

    @property
    def devices(self) -> int:
        """All that are registered."""
        return sum(site.total for site in self.sites)

    @property
    def received(self) -> int:
        """All messages of the span."""
        return sum(one.received for one in self.books)

    @property
    def stored(self) -> int:
        """Those that became readings."""
        return sum(one.stored for one in self.books)

    @property
    def refused(self) -> int:
        """Those that were not accepted."""
        return sum(one.refused for one in self.books)

    @property
    def duplicate(self) -> int:
        """Those that were there before."""
        return sum(one.duplicate for one in self.books)


QueryScope = tuple[bool, OverviewChoice]
"""Of what is kept: whether an operator asks, and for what."""


class OverviewQueries:
    """Reads figures, one view at a time: a customer's under row-level security, an operator's of all tenants."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._queries = statements.load("web")
        self._known: dict[QueryScope, tuple[float, OverviewData]] = {}
        self._fleets: dict[str | None, tuple[float, list[SiteCounts]]] = {}
        self._reading = trio.Lock()

    async def read(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData:
        """The figures of a choice, as ``seen_by`` may see them.

        Raises what the pool raises when Postgres is away.
        """
        # The deadline holds for the turn too: of many who ask in vain nobody waits for the others' time to run out.
        key = (seen_by.is_operator, choice)
        with trio.fail_after(DEADLINE):
            async with self._reading:
                known = self._known.get(key)
                if known is not None and self._clock.monotonic() - known[0] < choice.scale.good_for:
                    return known[1]
                figures = await self._query(seen_by, choice)
                if len(self._known) >= MAX_SCOPES:
                    self._known.clear()
                self._known[key] = (self._clock.monotonic(), figures)
                return figures

    def last_known(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData | None:
        """The figures as last read for such a viewer, however old."""
        known = self._known.get((seen_by.is_operator, choice))
        return None if known is None else known[1]

    async def _query(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData:
        now = self._clock.wall()
        since = choice.since(now)
        parameters = {
            "tenant": choice.tenant,
            "since": datetime.fromtimestamp(since, UTC),
            "step": timedelta(seconds=choice.scale.step),
        }
        async with self._access.reading(seen_by) as connection:
            sites = await self._sites(connection, choice.tenant)
            owned = await subscriptions.list_all(connection, choice.tenant)
            (people,) = await self._row(connection, "count_people", parameters)
            held, held_since = await self._row(connection, "count_held", parameters)
            cursor = await connection.execute(self._queries["sum_books"], parameters)
            books = [AccountingRead(began.timestamp(), *counts) for began, *counts in await cursor.fetchall()]
            cursor = await connection.execute(self._queries["sum_reasons"], parameters)
            reasons = dict(await cursor.fetchall())
            readings: list[LastReading] = []
            if choice.site is not None:
                readings = await warm_start.last_readings(connection, LAST_READINGS, choice.tenant, choice.site)
        return OverviewData(
            since=since,
            read_at=now,
            sites=sites,
            subscriptions=owned,
            people=people,
            held=held,
            held_since=None if held_since is None else held_since.timestamp(),
            reasons=reasons,
            books=books,
            readings=readings,
        )

    async def _sites(self, connection: Connection, tenant: str | None) -> list[SiteCounts]:
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
