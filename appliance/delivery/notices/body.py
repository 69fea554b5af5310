"""A notice as JSON: the body of a webhook, fixed by ``docs/webhook.schema.json``. Fields may be added, none change."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from appliance.delivery.notices.notice import AlertFacts, Notice
from appliance.delivery.outbox.job import JobEvent

TYPES: Mapping[JobEvent, str] = MappingProxyType(
    {
        JobEvent.OPEN: "alert.opened",
        JobEvent.REMINDER: "alert.reminder",
        JobEvent.ACKNOWLEDGED: "alert.acknowledged",
        JobEvent.CLOSED: "alert.closed",
    }
)
SUMMARY = "alerts.summary"
"""The type of a notice that tells of several alerts."""


def body(notice: Notice) -> bytes:
    """Return the notice as JSON."""
    return msgspec.json.encode(
        {
            "type": SUMMARY if notice.merged_count else TYPES[notice.event],
            "timestamp": moment(notice.made_at),
            "data": _data(notice),
        }
    )


def _data(notice: Notice) -> dict[str, Any]:
    found: dict[str, Any] = {
        **_about(notice.alert),
        "url": notice.url,
        "event": TYPES[notice.event],
        "appliance": notice.appliance,
        "message_id": str(notice.message_id),
    }
    if notice.acknowledge_url is not None:
        found["acknowledge_url"] = notice.acknowledge_url
    if notice.event is JobEvent.REMINDER:
        found["reminder"] = notice.occurrence
    if notice.merged_count:
        found["merged_count"] = notice.merged_count
        found["merged"] = [{**_about(alert), "url": url_of(notice, alert)} for alert in notice.merged]
    if notice.test:
        found["test"] = True
    return found


def url_of(notice: Notice, alert: AlertFacts) -> str:
    """Return the address of another alert's page: that of the notice with its number."""
    return f"{notice.url.rpartition('/')[0]}/{alert.alert_id}"


def moment(at: datetime) -> str:
    """Return a time after RFC 3339, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _about(alert: AlertFacts) -> dict[str, Any]:
    return {"alert": _alert(alert), "device": _device(alert), "rule": _rule(alert)}


def _alert(alert: AlertFacts) -> dict[str, Any]:
    """Return an alert in the names of the JSON API."""
    times = ("created_at", "started_at", "last_triggered_at", "acknowledged_at", "closed_at")
    plain = (
        "alert_id", "tenant_id", "alert_type", "severity", "status", "summary", "details", "trigger_count", "past",
        "acknowledged_by", "closed_by", "close_reason", "device_id", "site_id", "rule_id",
    )  # fmt: skip
    found = {name: getattr(alert, name) for name in plain}
    for name in times:
        at = getattr(alert, name)
        found[name] = None if at is None else moment(at)
    return found


def _device(alert: AlertFacts) -> dict[str, Any] | None:
    if alert.device_id is None:
        return None
    site = None
    if alert.site_id is not None:
        site = {"site_id": alert.site_id, "name": alert.site_name, "time_zone": alert.zone}
    return {"device_id": alert.device_id, "name": alert.device_name, "place": alert.place, "site": site}


def _rule(alert: AlertFacts) -> dict[str, Any] | None:
    if alert.rule_id is None:
        return None
    metric = alert.metric_label or alert.details.get("metric")
    return {
        "rule_id": alert.rule_id,
        "name": alert.rule_name,
        "metric": metric if isinstance(metric, str) else None,
        "unit": alert.unit,
    }
