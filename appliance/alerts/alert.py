"""An alert: what it is about, where it stands, and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from appliance.severity import Severity

ALERTS_CHANNEL = "appliance_alerts"
"""The notifications of alerts that opened, moved or closed: ``{"tenants": [...]}``. Counts tell nothing."""


class AlertType(StrEnum):
    """What kind of condition an alert is about."""

    THRESHOLD = "THRESHOLD"
    WINDOW = "WINDOW"
    NO_HEARTBEAT = "NO_HEARTBEAT"
    SITE_SILENT = "SITE_SILENT"
    MESSAGES_LOST = "MESSAGES_LOST"
    NO_DATA = "NO_DATA"
    CHANGE = "CHANGE"
    SUBSCRIPTION_EXPIRING = "SUBSCRIPTION_EXPIRING"
    CAPACITY = "CAPACITY"
    APPROVAL = "APPROVAL"
    INTEGRATION_FAILING = "INTEGRATION_FAILING"
    SYSTEM = "SYSTEM"


class Status(StrEnum):
    """Where an alert stands."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"


class CloseReason(StrEnum):
    """Why an alert is closed."""

    CLEARED = "cleared"
    """The condition ended."""
    CLOSED = "closed"
    """A person closed it."""
    SUPERSEDED = "superseded"
    """A later alert of the same thing took its place: the next warning of the end of a term."""
    RULE_CHANGED = "rule_changed"
    RULE_DISABLED = "rule_disabled"
    RULE_DELETED = "rule_deleted"
    DEVICE_DEACTIVATED = "device_deactivated"
    DEVICE_DELETED = "device_deleted"
    OUT_OF_SCOPE = "out_of_scope"
    """The device was moved or its tags changed: the rule is not about it any more."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of ``fleet_alert``."""

    alert_id: int
    tenant_id: str
    site_id: str | None
    device_id: str | None
    rule_id: UUID | None
    alert_type: AlertType
    fingerprint: str
    status: Status
    severity: Severity
    summary: str
    details: dict[str, Any]
    created_at: datetime
    started_at: datetime
    last_triggered_at: datetime
    trigger_count: int
    due_at: datetime
    past: bool
    inhibited_by: int | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silenced_until: datetime | None
    silenced_by: str | None
    silence_reason: str | None
    closed_at: datetime | None
    closed_by: str | None
    close_reason: CloseReason | None
