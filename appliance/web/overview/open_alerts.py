"""The alerts that the Overview shows: open ones by severity, the newest, and those that need somebody.

They are read apart from the other data, which may be some seconds old: an alert is shown as soon as it is committed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
import trio

from appliance.alerts import store
from appliance.alerts.alert import AlertType
from appliance.alerts.store import AlertFilter, AlertSort, AlertTab, ListedAlert
from appliance.delivery.outbox import alert_notices
from appliance.severity import Severity
from appliance.web.access.auth import Viewer
from appliance.web.overview.choice import OverviewChoice
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.platform import Platform

RECENT = 5
"""Rows of the card of recent alerts."""
MAX_AT_SITE = 500
"""Open alerts of one site that are counted."""
MAX_AGE = 2.0
"""Seconds for which they are reused; a change of an alert ends it at once."""
MAX_SCOPES = 64
"""Choices whose alerts are kept."""
PATIENCE = 1.0
"""Seconds that the page waits for them."""
TOLD_ELSEWHERE = frozenset(
    {
        AlertType.NO_HEARTBEAT,
        AlertType.SITE_SILENT,
        AlertType.APPROVAL,
        AlertType.CAPACITY,
        AlertType.SUBSCRIPTION_EXPIRING,
    }
)
"""Alerts about what has an action item of its own: devices that are offline or wait, subscriptions."""
CLASSES: Mapping[Severity, str] = {
    Severity.CRITICAL: "crit",
    Severity.HIGH: "high",
    Severity.MEDIUM: "medium",
    Severity.LOW: "low",
    Severity.INFO: "info",
}
"""The classes of the style sheet."""


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """The alerts of a choice of tenant and site."""

    severities: Mapping[Severity, int]
    """Open alerts by severity."""
    recent: Sequence[ListedAlert]
    """The newest alerts, whatever has become of them."""
    waiting: Sequence[ListedAlert]
    """Open alerts that need somebody, the most severe first; not all where there are very many."""
    unrouted: int = 0
    """Open alerts of which no route tells anybody."""

    @property
    def open(self) -> int:
        """Return the number of open alerts."""
        return sum(self.severities.values())


log = structlog.get_logger(__name__)

NONE_OPEN = OpenAlerts({}, (), ())


class OpenAlertQueries:
    """Reads the alerts, as a viewer may see them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[tuple[bool, str | None, str | None], tuple[int, float, OpenAlerts]] = {}

    async def read(self, seen_by: Viewer, choice: OverviewChoice) -> OpenAlerts:
        """Return the alerts of a choice. Raises what the pool raises when Postgres is not reachable."""
        key, woken = (seen_by.is_operator, choice.tenant, choice.site), self._platform.live.woken
        known = self._known.get(key)
        if known is not None and known[0] == woken and self._platform.clock.monotonic() - known[1] < MAX_AGE:
            return known[2]
        found = await self._query(seen_by, choice)
        if len(self._known) >= MAX_SCOPES:
            self._known.clear()
        self._known[key] = (woken, self._platform.clock.monotonic(), found)
        return found

    async def read_if_there(self, seen_by: Viewer, choice: OverviewChoice) -> OpenAlerts | None:
        """Return the alerts, or None while Postgres does not answer: the rest of the page is shown without them."""
        try:
            with trio.fail_after(PATIENCE):
                return await self.read(seen_by, choice)
        except POSTGRES_AWAY as error:
            log.debug("overview without alerts", error=str(error))
            return None

    async def _query(self, seen_by: Viewer, choice: OverviewChoice) -> OpenAlerts:
        access = self._platform.access
        settled = access.settled()
        maintenance = self._platform.maintenance.active_scopes(choice.tenant, self._platform.clock.settled())
        wanted = AlertFilter(tenant_id=choice.tenant, sites=() if choice.site is None else (choice.site,))
        opened = AlertFilter(tenant_id=wanted.tenant_id, tab=AlertTab.OPEN, sites=wanted.sites)
        async with access.reading(seen_by) as connection:
            newest = await store.page(
                connection, wanted, settled=settled, maintenance=maintenance, sort=AlertSort.NEWEST, limit=RECENT
            )
            waiting = await store.page(
                connection, opened, settled=settled, maintenance=maintenance, sort=AlertSort.SEVERITY, limit=MAX_AT_SITE
            )
            if choice.site is None:
                counts = await store.counts(connection, choice.tenant, settled=settled, maintenance=maintenance)
                severities: Mapping[Severity, int] = counts.by_tab[AlertTab.OPEN]
            else:
                severities = Counter(one.alert.severity for one in waiting.alerts)
            unrouted = await alert_notices.count_unrouted(connection, choice.tenant, choice.site, settled=settled)
        needed = [one for one in waiting.alerts if one.alert.alert_type not in TOLD_ELSEWHERE]
        return OpenAlerts(severities, newest.alerts, needed, unrouted)
