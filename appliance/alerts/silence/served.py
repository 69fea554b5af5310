"""Subscriptions that serve no devices: a lapsed one is one alert, not one for each of its devices."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import rows
from appliance.subscriptions.lifecycle import usable
from appliance.subscriptions.statuses import as_of


class Lapsed:
    """The subscriptions that are not usable, read once a tenant and kept for a round."""

    def __init__(self, settled: datetime, grace: timedelta) -> None:
        """``settled`` is the time by which terms end, ``grace`` the setting ``grace_days``."""
        self._settled = settled
        self._grace = grace
        self._known: dict[str, frozenset[str]] = {}

    async def of(self, connection: Connection[Any], tenants: Collection[str]) -> list[str]:
        """Return the ids of the subscriptions of ``tenants`` that are not usable."""
        await self.read(connection, tenants)
        return sorted(name for tenant_id in tenants for name in self._known[tenant_id])

    async def read(self, connection: Connection[Any], tenants: Collection[str]) -> None:
        """Read those of tenants that are not known yet."""
        wanted = sorted(set(tenants) - set(self._known))
        if wanted:
            self._known |= dict.fromkeys(wanted, frozenset())
            for row in as_of(await rows.select(connection, wanted), self._settled, self._grace):
                if not usable(row.status):
                    self._known[row.tenant_id] |= {row.subscription_id}

    def serves(self, tenant_id: str, subscription_id: str) -> bool:
        """Return whether a subscription of a tenant that was read is usable."""
        return subscription_id not in self._known[tenant_id]
