"""Changes of subscriptions by operators, for pages and the API alike, one transaction each.

Every subscription is returned with its current status. Errors are those of ``appliance.subscriptions.store``.
"""

from collections.abc import Sequence
from datetime import date

from appliance.db.require import require
from appliance.subscriptions import rows, store
from appliance.subscriptions.lifecycle import Subscription
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.store import Changes, NewSubscription
from appliance.subscriptions.terms import last_full_day
from appliance.web.platform import Platform

PageEnd = tuple[str, str]
"""Tenant and id of the last subscription on a page."""


class SubscriptionActions:
    """Reads and changes subscriptions for the current viewer."""

    def __init__(self, platform: Platform) -> None:
        self._access = platform.access
        self._grace = platform.grace

    async def list_page(
        self, tenant_id: str | None, *, limit: int, after: PageEnd | None = None
    ) -> tuple[list[Subscription], PageEnd | None]:
        """Return at most ``limit`` subscriptions of a tenant or of all, by tenant and id, and the end of the page."""
        async with self._access.reading() as connection:
            page = await store.list_page(
                connection, tenant_id, limit=limit + 1, after=after, now=self._access.settled(), grace=self._grace
            )
        last = page[limit - 1] if len(page) > limit else None
        return page[:limit], None if last is None else (last.tenant_id, last.subscription_id)

    async def of_tenant(self, tenant_id: str) -> Sequence[Subscription]:
        """Return all subscriptions of a tenant."""
        async with self._access.reading() as connection:
            return as_of(await store.list_all(connection, tenant_id), self._access.settled(), self._grace)

    async def last_full_days(self, found: Sequence[Subscription]) -> list[date]:
        """Return the last day of each term, in the zone of its tenant, that the term covers completely."""
        async with self._access.reading() as connection:
            zones = await rows.time_zones(connection, (row.tenant_id for row in found))
        return [last_full_day(row.term_end, zones.get(row.tenant_id)) for row in found]

    async def get(self, tenant_id: str, subscription_id: str) -> Subscription:
        """Return one subscription. Raises NotFound."""
        owned = await self.of_tenant(tenant_id)
        matching = (row for row in owned if row.subscription_id == subscription_id)
        return require(next(matching, None), f"subscription {subscription_id}")

    async def add(self, new: NewSubscription) -> Subscription:
        """Add a subscription that starts now. Raises Invalid, which names the field; NotFound; Conflict."""
        async with self._access.changing() as connection:
            return await store.add(connection, new, self._access.context(), grace=self._grace)

    async def change(self, tenant_id: str, subscription_id: str, changes: Changes, version: str | None) -> Subscription:
        """Change a subscription, and its add-ons with it.

        Raises Invalid, which names the field; NotFound; Conflict; VersionNeeded for the version UNREAD.
        """
        async with self._access.changing() as connection:
            return await store.change(
                connection,
                tenant_id,
                subscription_id,
                changes,
                self._access.context(),
                grace=self._grace,
                version=version,
            )
