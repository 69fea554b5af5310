"""Notices as couriers make them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from appliance.delivery.notices.notice import AlertFacts, Notice
from appliance.delivery.outbox.job import JobEvent
from appliance.severity import Severity

MADE_AT = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
ACKNOWLEDGE_URL = "http://appliance.lan:8080/acknowledge/Zx81marked-token-of-one-use"


def alert_facts(**changes: Any) -> AlertFacts:
    """Return an alert of a freezer, with changes."""
    facts: dict[str, Any] = {
        "alert_id": 4711,
        "tenant_id": "acme",
        "alert_type": "THRESHOLD",
        "severity": Severity.CRITICAL,
        "status": "OPEN",
        "summary": "Freezer too warm",
        "details": {"metric": "temp", "operator": "GT", "threshold": -18.0, "value": -9.25, "kind": "threshold"},
        "trigger_count": 3,
        "created_at": MADE_AT - timedelta(minutes=5),
        "started_at": MADE_AT - timedelta(minutes=6),
        "last_triggered_at": MADE_AT - timedelta(minutes=1),
        "past": False,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "closed_at": None,
        "closed_by": None,
        "close_reason": None,
        "device_id": "frz-3",
        "device_name": "Freezer 3",
        "place": "Cold room",
        "site_id": "hall-2",
        "site_name": "Hall 2",
        "zone": "Europe/Berlin",
        "rule_id": UUID("11111111-2222-4333-8444-555555555555"),
        "rule_name": "Freezer too warm",
        "metric_label": "Temperature",
        "unit": "°C",
        "decimals": 1,
    }
    return AlertFacts(**facts | changes)


def notice(event: JobEvent = JobEvent.OPEN, alert: AlertFacts | None = None, **changes: Any) -> Notice:
    """Return a notice of that alert, with changes."""
    facts: dict[str, Any] = {
        "message_id": UUID("0f0e0d0c-0b0a-4908-8706-050403020100"),
        "event": event,
        "occurrence": 1,
        "appliance": "edge-7f3a",
        "alert": alert or alert_facts(),
        "url": "http://appliance.lan:8080/alerts/4711",
        "made_at": MADE_AT,
        "acknowledge_url": ACKNOWLEDGE_URL,
    }
    return Notice(**facts | changes)
