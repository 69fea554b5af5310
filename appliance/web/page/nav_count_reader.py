"""Reads the numbers of the navigation, and what every page must say: three cheap statements a page.

Pending devices and alerts that are not closed have indexes of their own, held messages come from the quarantine's exact
totals, and counting ten thousand devices takes a millisecond. While Postgres is not reachable, pages are shown without
these numbers. Unclosed alerts and integrations with a try are few.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
import trio

from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import restore_hold
from appliance.subscriptions import rows
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.nav_counts import NavCounts
from appliance.web.page.no_way_out import PATIENCE as PATIENCE_OUT
from appliance.web.page.no_way_out import NoWayOut
from appliance.web.page.subscription_notice import SubscriptionNotice, concerning, notice_of

PATIENCE = 1.0
"""Seconds that a page waits for the numbers at most."""
MAX_AGE = 2.0
"""Seconds for which a live page reuses them."""
MAX_SCOPES = 64
"""Scopes (a tenant, or all tenants for operators) whose numbers are kept."""

log = structlog.get_logger(__name__)


class NavCountReader:
    """Reads what the viewer may see: a customer's under row-level security, an operator's of all tenants or one."""

    def __init__(self, access: Access, clock: Clock, windows: MaintenanceBook, grace: timedelta) -> None:
        """``grace``: of a subscription after its term."""
        self._grace = grace
        self._access = access
        self._windows = windows
        self._clock = clock
        self._statement = statements.load("web")["count_beside_navigation"]
        self._no_way_out = statements.load("web")["no_way_out"]
        self._sole_tenant = statements.load("web")["sole_tenant"]
        self._known: dict[tuple[bool, str | None], tuple[float, NavCounts]] = {}
        self._forgotten = 0

    async def read(self, seen_by: Viewer, tenant: str | None) -> NavCounts | None:
        """Return the current numbers, or None while Postgres does not answer in time."""
        forgotten = self._forgotten
        try:
            with trio.fail_after(PATIENCE):
                async with self._access.reading(seen_by) as connection:
                    maintenance = self._windows.active_scopes(tenant, self._clock.settled())
                    parameters = {"tenant": tenant, "settled": self._access.settled(), **maintenance.parameters()}
                    cursor = await connection.execute(self._statement, parameters)
                    row: tuple[Any, ...] = await cursor.fetchone() or (0, 0, 0)
                    before = self._access.settled() - PATIENCE_OUT
                    cursor = await connection.execute(self._no_way_out, {"tenant": tenant, "before": before})
                    out: tuple[Any, ...] | None = await cursor.fetchone()
                    sole = await self._sole(connection) if seen_by.is_operator and tenant is None else None
                    hold = await restore_hold.read(connection) if seen_by.is_operator else None
                    subscription = None if tenant is None else await self._subscription(connection, tenant)
        except POSTGRES_AWAY as error:
            log.debug("page without the numbers of the navigation", error=str(error))
            return None
        if len(self._known) >= MAX_SCOPES:
            self._known.clear()
        found = None if out is None else NoWayOut(*out)
        # Who sees all tenants is told when nothing gets out, not of each receiver that is away.
        told = found is not None and (tenant is not None or found.cut_off)
        counts = replace(
            NavCounts(*row),
            subscription=subscription,
            way_out=found if told else None,
            backup_made_at=None if hold is None else hold.made_at,
            sole_tenant=sole,
        )
        if forgotten == self._forgotten:
            self._known[seen_by.is_operator, tenant] = (self._clock.monotonic(), counts)
        return counts

    async def _subscription(self, connection: Connection[Any], tenant: str) -> SubscriptionNotice | None:
        """Return what is said of a subscription of the tenant that has ended or is held; None while all serve."""
        settled = self._access.settled()
        row = concerning(await rows.select(connection, [tenant]), settled, self._grace)
        if row is None:
            return None
        zones = await rows.time_zones(connection, [tenant])
        return notice_of(row, settled, zones.get(tenant), self._grace)

    async def _sole(self, connection: Connection[Any]) -> str | None:
        row: tuple[str] | None = await (await connection.execute(self._sole_tenant)).fetchone()
        return None if row is None else row[0]

    def forget(self) -> None:
        """Forget the kept numbers, those that are being read included: some have changed."""
        self._known.clear()
        self._forgotten += 1

    async def recent(self, seen_by: Viewer, tenant: str | None) -> NavCounts | None:
        """Return numbers that may be ``MAX_AGE`` old, for live pages, which ask often."""
        known = self._known.get((seen_by.is_operator, tenant))
        if known is not None and self._clock.monotonic() - known[0] < MAX_AGE:
            return known[1]
        return await self.read(seen_by, tenant)
