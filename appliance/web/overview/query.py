"""Reads the Overview's data from the database, at most every few seconds however many pages ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.fleet import SiteCounts
from appliance.ingest.summary import LastReading
from appliance.peers.store import Peer
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions import store as subscriptions
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.live import warm_start
from appliance.web.overview.choice import OverviewChoice

DEADLINE = 5.0
"""Seconds for waiting, a connection and all statements of one read."""
LARGE_FLEET = 2000
"""A fleet of this many devices is counted less often, because counting takes long."""
FLEET_AGE = 10.0
"""Seconds for which the count of a large fleet is reused."""
MAX_SCOPES = 64
"""Choices whose data is kept."""
AHEAD = timedelta(minutes=10)
"""By how much the clock of a peer may be ahead; what was counted later was counted by a wrong clock."""
LAST_READINGS = 12
"""Rows of the table of readings: the newest of each device."""


@dataclass(frozen=True, slots=True)
class AccountingStep:
    """The accounting of the messages of one step, which ``began`` in seconds since 1970-01-01 UTC."""

    began: float
    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int = 0


@dataclass(frozen=True, slots=True)
class OverviewData:
    """The state at ``read_at``, and the accounting from ``since`` on; both in seconds since 1970-01-01 UTC.

    Accounting, reasons and held messages belong to a whole tenant, whichever site was chosen: they have no site.
    """

    since: float
    read_at: float
    sites: Sequence[SiteCounts]
    """All sites, whichever was chosen."""
    subscriptions: Sequence[Subscription]
    zones: Mapping[str, tzinfo | None]
    """The time zones of their tenants, in which terms end."""
    people: int
    held: int
    """Messages that are held in quarantine."""
    held_since: float | None
    """When the oldest held message was received."""
    reasons: Mapping[str, int]
    """Refused messages by reason code, most frequent first."""
    accounting: Sequence[AccountingStep] = ()
    """By step, oldest first; steps without messages are left out, the last step is not over yet."""
    away: Sequence[Peer] = ()
    """The appliances on the database that are away and heard active devices last; added by the page."""
    readings: Sequence[LastReading] = ()
    """For a chosen site: the newest reading of each of the devices heard last."""
    rules: int = 0
    """Alert rules that people have made."""
    tried: bool = False
    """Whether a sample or a notice has arrived anywhere."""

    @property
    def devices(self) -> int:
        """Return the number of registered devices."""
        return sum(site.total for site in self.sites)

    @property
    def received(self) -> int:
        """Return the number of received messages."""
        return sum(one.received for one in self.accounting)

    @property
    def stored(self) -> int:
        """Return the number of messages stored as readings."""
        return sum(one.stored for one in self.accounting)

    @property
    def refused(self) -> int:
        """Return the number of refused messages."""
        return sum(one.refused for one in self.accounting)

    @property
    def duplicate(self) -> int:
        """Return the number of duplicates."""
        return sum(one.duplicate for one in self.accounting)

    @property
    def cleared(self) -> int:
        """Return the number of topics that were cleared."""
        return sum(one.cleared for one in self.accounting)


QueryScope = tuple[bool, OverviewChoice]
"""The key of kept data: whether an operator asks, and the choice."""


class OverviewQueries:
    """Reads data, one viewer at a time: a customer's under row-level security, an operator's of all tenants."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._queries = statements.load("web")
        self._known: dict[QueryScope, tuple[float, OverviewData]] = {}
        self._fleets: dict[str | None, tuple[float, list[SiteCounts]]] = {}
        self._reading = trio.Lock()

    async def read(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData:
        """Return the data of a choice, as ``seen_by`` may see it.

        Raises what the pool raises when Postgres is not reachable.
        """
        # The deadline covers the wait for the lock, so that failing requests do not wait for each other's deadlines.
        key = (seen_by.is_operator, choice)
        with trio.fail_after(DEADLINE):
            async with self._reading:
                known = self._known.get(key)
                if known is not None and self._clock.monotonic() - known[0] < choice.scale.good_for:
                    return known[1]
                data = await self._query(seen_by, choice)
                if len(self._known) >= MAX_SCOPES:
                    self._known.clear()
                self._known[key] = (self._clock.monotonic(), data)
                return data

    def last_known(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData | None:
        """Return the data last read for such a viewer, however old, or None."""
        known = self._known.get((seen_by.is_operator, choice))
        return None if known is None else known[1]

    async def _query(self, seen_by: Viewer, choice: OverviewChoice) -> OverviewData:
        now = self._clock.now()
        since = choice.since(now)
        parameters = {
            "tenant": choice.tenant,
            "since": datetime.fromtimestamp(since, UTC),
            "until": datetime.fromtimestamp(now, UTC) + AHEAD,
            "step": timedelta(seconds=choice.scale.step),
        }
        async with self._access.reading(seen_by) as connection:
            sites = await self._sites(connection, choice.tenant)
            owned = await subscriptions.list_all(connection, choice.tenant)
            zones = await subscription_rows.time_zones(connection, (row.tenant_id for row in owned))
            (people,) = await self._row(connection, "count_people", parameters)
            (rules,) = await self._row(connection, "count_own_rules", parameters)
            (tried,) = await self._row(connection, "integration_tried", parameters)
            held, held_since = await self._row(connection, "count_held", parameters)
            cursor = await connection.execute(self._queries["sum_books"], parameters)
            accounting = [AccountingStep(began.timestamp(), *counts) for began, *counts in await cursor.fetchall()]
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
            zones=zones,
            people=people,
            held=held,
            held_since=None if held_since is None else held_since.timestamp(),
            reasons=reasons,
            rules=rules,
            tried=tried,
            accounting=accounting,
            readings=readings,
        )

    async def _sites(self, connection: Connection, tenant: str | None) -> list[SiteCounts]:
        """Return the devices by site; for a large fleet, a count that may be some seconds old."""
        counted_at, known = self._fleets.get(tenant, (0.0, []))
        if sum(site.total for site in known) >= LARGE_FLEET and self._clock.monotonic() - counted_at < FLEET_AGE:
            return known
        if len(self._fleets) >= MAX_SCOPES:
            self._fleets.clear()
        sites = await fleet.by_site(connection, tenant)
        self._fleets[tenant] = (self._clock.monotonic(), sites)
        return sites

    async def _row(self, connection: Connection, name: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the one row of an aggregate."""
        cursor = await connection.execute(self._queries[name], parameters)
        return await cursor.fetchone() or ()
