"""What is wrong with the appliance and its peers, as alerts of its own tenant that are not closed."""

from datetime import datetime
from typing import Any

import msgspec

from appliance.alerts import store
from appliance.alerts.alert import Status
from appliance.alerts.maintenance.book import ActiveScopes
from appliance.alerts.store import AlertFilter, AlertSort, ListedAlert
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.tenants import OWN_TENANT
from appliance.severity import Severity

STATEMENTS = statements.load("web")

MOST = 20
"""Alerts that are shown; the list of alerts has them all."""
UNCLOSED = AlertFilter(OWN_TENANT, statuses=(Status.OPEN, Status.ACKNOWLEDGED))


class SystemAlert(msgspec.Struct, frozen=True):
    """An alert about the appliance. Times are seconds since 1970."""

    alert_id: int
    severity: Severity
    status: Status
    summary: str
    started_at: float
    """Since when it holds."""
    acknowledged_by: str | None

    @property
    def path(self) -> str:
        """Return the address of its page."""
        return f"/alerts/{self.alert_id}"


async def read_alerts(connection: Connection[Any], settled: datetime) -> list[SystemAlert]:
    """Return the alerts of the appliance that are not closed, worst first. Role ``appliance_ingest``."""
    page = await store.page(
        connection, UNCLOSED, settled=settled, maintenance=ActiveScopes.none(), sort=AlertSort.SEVERITY, limit=MOST
    )
    return [_shown(one) for one in page.alerts]


async def count_own_routes(connection: Connection[Any]) -> int:
    """Return how many routes tell somebody of the appliance's alerts. Role ``appliance_ingest``."""
    cursor = await connection.execute(STATEMENTS["count_own_routes"], {"tenant": OWN_TENANT})
    [(count,)] = await cursor.fetchall()
    found: int = count
    return found


def _shown(one: ListedAlert) -> SystemAlert:
    alert = one.alert
    by = alert.acknowledged_by if alert.status is Status.ACKNOWLEDGED else None
    return SystemAlert(alert.alert_id, alert.severity, alert.status, alert.summary, alert.started_at.timestamp(), by)
