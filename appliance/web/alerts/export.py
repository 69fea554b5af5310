"""The list of alerts as a CSV file, in the order of the list."""

from typing import Any

from quart import Response

from appliance.alerts import store
from appliance.alerts.store import AlertFilter, AlertPosition, AlertSort, ListedAlert
from appliance.db.trio_psycopg import Connection
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    *("alert_id", "tenant_id", "status", "severity", "alert_type", "summary", "device_id", "device_name", "site_id"),
    *("site_name", "rule_id", "rule_name", "metric", "value", "threshold", "created_at", "started_at"),
    *("last_triggered_at", "trigger_count", "past", "inhibited_by", "acknowledged_at", "acknowledged_by"),
    *("silenced_until", "silenced_by", "silence_reason", "closed_at", "closed_by", "close_reason"),
)


def answer(platform: Platform, who: Viewer, wanted: AlertFilter, sort: AlertSort) -> Response:
    """Return the download of all alerts that match, in their order."""
    settled = platform.access.settled()
    maintenance = platform.maintenance.active_scopes(wanted.tenant_id, platform.clock.settled())

    async def read(connection: Connection[Any], after: AlertPosition | None) -> csv.Page[AlertPosition]:
        page = await store.page(
            connection, wanted, settled=settled, maintenance=maintenance, sort=sort, limit=csv.PAGE_ROWS, after=after
        )
        return [_cells(one) for one in page.alerts], page.next

    return csv.list_answer(platform, who, "alerts", HEADS, read)


def _cells(one: ListedAlert) -> tuple[Any, ...]:
    alert = one.alert
    return (
        alert.alert_id,
        alert.tenant_id,
        alert.status.value,
        alert.severity.value,
        alert.alert_type.value,
        alert.summary,
        alert.device_id,
        one.device_name,
        alert.site_id,
        one.site_name,
        alert.rule_id,
        one.rule_name,
        alert.details.get("metric"),
        alert.details.get("value"),
        alert.details.get("threshold"),
        alert.created_at,
        alert.started_at,
        alert.last_triggered_at,
        alert.trigger_count,
        alert.past,
        alert.inhibited_by,
        alert.acknowledged_at,
        alert.acknowledged_by,
        alert.silenced_until,
        alert.silenced_by,
        alert.silence_reason,
        alert.closed_at,
        alert.closed_by,
        alert.close_reason and alert.close_reason.value,
    )
