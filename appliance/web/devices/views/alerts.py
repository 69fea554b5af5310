"""The alerts of a device on its page: open ones on top, those of 30 days in a card."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from appliance.alerts import store
from appliance.alerts.alert import Alert, Status
from appliance.alerts.store import AlertFilter, AlertSort, AlertTab
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.page import formats
from appliance.web.page.paths import of_tenant
from appliance.web.platform import Platform

STATEMENTS = statements.load("web")

PERIOD = timedelta(days=30)
OPEN_SHOWN = 3
"""Open alerts on top of the page; the others are in the card."""
RECENT_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DeviceAlert:
    """An alert as the device's page shows it."""

    alert: Alert
    kind: str
    """The class of its severity in the style sheet."""
    href: str
    acknowledge: str | None
    """Where its acknowledgement is sent; None: it has none, or the viewer may not."""
    began: float
    state: str
    """What has become of it, and after how long."""


@dataclass(frozen=True, slots=True)
class DeviceAlerts:
    """Open alerts, the most severe first; and those of 30 days, the newest first."""

    open: Sequence[DeviceAlert]
    recent: Sequence[DeviceAlert]
    more: bool
    """Whether there are more in the 30 days."""
    all_href: str


async def read_alerts(
    connection: Connection[Any], platform: Platform, who: Viewer, tenant_id: str, device_id: str
) -> DeviceAlerts:
    """Return the alerts of a device."""
    settled, now = platform.access.settled(), platform.access.now()
    maintenance = platform.maintenance.active_scopes(tenant_id, platform.clock.settled())
    opened = AlertFilter(tenant_id=tenant_id, device_id=device_id, tab=AlertTab.OPEN)
    waiting = await store.page(
        connection, opened, settled=settled, maintenance=maintenance, sort=AlertSort.SEVERITY, limit=OPEN_SHOWN
    )
    recent = await store.page(
        connection,
        AlertFilter(tenant_id=tenant_id, device_id=device_id, since=now - PERIOD),
        settled=settled,
        maintenance=maintenance,
        sort=AlertSort.NEWEST,
        limit=RECENT_SHOWN,
    )
    return DeviceAlerts(
        [_shown(one.alert, who) for one in waiting.alerts],
        [_shown(one.alert, who) for one in recent.alerts],
        recent.next is not None,
        of_tenant("/alerts", who, tenant_id, tab="all", device_id=device_id),
    )


@dataclass(frozen=True, slots=True)
class OpenCount:
    """The open alerts of a device in the list."""

    number: int
    kind: str
    """The class of the worst severity in the style sheet."""
    severity: str
    href: str


async def open_counts(
    connection: Connection[Any], devices: Sequence[tuple[str, str]], who: Viewer
) -> dict[tuple[str, str], OpenCount]:
    """Return the open alerts of each of ``devices`` (tenant and id) that has any."""
    parameters = {"tenants": [one[0] for one in devices], "devices": [one[1] for one in devices]}
    cursor = await connection.execute(STATEMENTS["count_open_alerts_of_devices"], parameters)
    return {
        (tenant_id, device_id): OpenCount(
            number,
            "crit" if severity == "critical" else severity,
            severity,
            of_tenant("/alerts", who, tenant_id, device_id=device_id),
        )
        for tenant_id, device_id, number, severity in await cursor.fetchall()
    }


def _shown(alert: Alert, who: Viewer) -> DeviceAlert:
    href = of_tenant(f"/alerts/{alert.alert_id}", who, alert.tenant_id)
    may = alert.status is Status.OPEN and alert.inhibited_by is None and who.role in RESPONDERS
    acknowledge = of_tenant(f"/alerts/{alert.alert_id}/acknowledge", who, alert.tenant_id)
    kind = "crit" if alert.severity == "critical" else alert.severity.value
    began = alert.started_at.timestamp()
    return DeviceAlert(alert, kind, href, acknowledge if may else None, began, _state(alert))


def _state(alert: Alert) -> str:
    if alert.closed_at is None:
        inhibited = "" if alert.inhibited_by is None else ", inhibited"
        return alert.status.value.capitalize() + inhibited
    lasted = max((alert.closed_at - alert.started_at).total_seconds(), 0)
    return f"Closed after {formats.lasting(round(lasted))}"
