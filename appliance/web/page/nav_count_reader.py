"""Reads the numbers beside the navigation: one statement a page, and cheap ones only.

What waits is in an index of its own, what is held is counted by the quarantine's exact totals, and ten thousand devices
take a millisecond. A page without them is a page nonetheless: while Postgres is away they are left out.
"""

from typing import Any

import structlog
import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.nav_counts import NavCounts

PATIENCE = 1.0
"""Seconds that a page waits for them at most."""
MAX_AGE = 2.0
"""Seconds for which they are good enough for a live page."""
MAX_SCOPES = 64
"""Views (of a tenant, or an operator's of all of them) whose numbers are kept."""

log = structlog.get_logger(__name__)


class NavCountReader:
    """Reads as the viewer may see them: a customer's under row-level security, an operator's of all tenants or one."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._statement = statements.load("web")["count_beside_navigation"]
        self._known: dict[tuple[bool, str | None], tuple[float, NavCounts]] = {}

    async def read(self, seen_by: Viewer, tenant: str | None) -> NavCounts | None:
        """As they are now; None while Postgres does not answer in time."""
        try:
            with trio.fail_after(PATIENCE):
                async with self._access.reading(seen_by) as connection:
                    cursor = await connection.execute(self._statement, {"tenant": tenant})
                    row: tuple[Any, ...] = await cursor.fetchone() or (0, 0, 0)
        except POSTGRES_AWAY as error:
            log.debug("page without the numbers of its navigation", error=str(error))
            return None
        if len(self._known) >= MAX_SCOPES:
            self._known.clear()
        counts = NavCounts(*row)
        self._known[seen_by.is_operator, tenant] = (self._clock.monotonic(), counts)
        return counts

    async def lately(self, seen_by: Viewer, tenant: str | None) -> NavCounts | None:
        """As they were a moment ago, for live pages, which ask all the time."""
        known = self._known.get((seen_by.is_operator, tenant))
        if known is not None and self._clock.monotonic() - known[0] < MAX_AGE:
            return known[1]
        return await self.read(seen_by, tenant)
