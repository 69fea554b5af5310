"""Alerts as the current viewer may see and change them, from a page or through the API alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.alerts import actions, store
from appliance.alerts.actions import AlertAnswer, AskedStep
from appliance.alerts.lifecycle import AlertStep
from appliance.alerts.store import AlertCounts, AlertFilter, AlertPage, AlertPosition, AlertSort, ListedAlert
from appliance.alerts.timeline import TimelineEntry, timeline
from appliance.db.trio_psycopg import Connection
from appliance.web.access.auth import Viewer
from appliance.web.platform import Platform


@dataclass(frozen=True, slots=True)
class WholeAlert:
    """One alert with its timeline, newest first."""

    listed: ListedAlert
    timeline: Sequence[TimelineEntry]


class AlertActions:
    """Each change is one transaction, with its audit row."""

    def __init__(self, platform: Platform) -> None:
        self._access = platform.access
        self._scopes = platform.maintenance.active_scopes
        self._clock = platform.clock

    async def page(
        self,
        wanted: AlertFilter,
        *,
        sort: AlertSort,
        limit: int,
        after: AlertPosition | None = None,
        seen_by: Viewer | None = None,
    ) -> AlertPage:
        """Return a page of alerts, as the viewer (or ``seen_by``, for a live page) sees them."""
        async with self._access.reading(seen_by) as connection:
            return await store.page(
                connection,
                wanted,
                settled=self._access.settled(),
                maintenance=self._scopes(wanted.tenant_id, self._clock.settled()),
                sort=sort,
                limit=limit,
                after=after,
            )

    async def counts(self, tenant_id: str | None, seen_by: Viewer | None = None) -> AlertCounts:
        """Count the alerts of a tenant (None: of all) that are not closed."""
        async with self._access.reading(seen_by) as connection:
            maintenance = self._scopes(tenant_id, self._clock.settled())
            return await store.counts(connection, tenant_id, settled=self._access.settled(), maintenance=maintenance)

    async def show(self, tenant_id: str | None, alert_id: int, seen_by: Viewer | None = None) -> WholeAlert:
        """Return one alert. Raises NotFound."""
        async with self._access.reading(seen_by) as connection:
            return await _whole(connection, tenant_id, alert_id)

    async def take(self, tenant_id: str, alert_id: int, asked: AskedStep) -> WholeAlert:
        """Take a step with one alert, and return it. Raises NotFound, Conflict, Invalid, Busy."""
        context = self._access.context()
        async with self._access.changing() as connection:
            await actions.take(connection, tenant_id, alert_id, asked, context)
            return await _whole(connection, tenant_id, alert_id)

    async def take_many(self, tenant_id: str, alert_ids: Sequence[int], asked: AskedStep) -> list[AlertAnswer]:
        """Take a step with many alerts in one transaction; return an answer for each. Raises Invalid, Busy."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return await actions.take_many(connection, tenant_id, alert_ids, asked, context)

    async def note(self, tenant_id: str, alert_id: int, note: str) -> WholeAlert:
        """Write a note into an alert's timeline, and return the alert. Raises NotFound, Invalid, Busy."""
        context = self._access.context()
        async with self._access.changing() as connection:
            await actions.add_note(connection, tenant_id, alert_id, note, context)
            return await _whole(connection, tenant_id, alert_id)

    async def delete(self, tenant_id: str, alert_id: int) -> None:
        """Delete a closed alert with its timeline. Raises NotFound, Conflict, Busy."""
        context = self._access.context()
        async with self._access.changing() as connection:
            await actions.take(connection, tenant_id, alert_id, AskedStep(AlertStep.DELETE), context)


async def _whole(connection: Connection[Any], tenant_id: str | None, alert_id: int) -> WholeAlert:
    listed = await store.get(connection, tenant_id, alert_id)
    return WholeAlert(listed, await timeline(connection, listed.alert.tenant_id, alert_id))
