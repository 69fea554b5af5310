"""A condition: what is so now, in the words of the alert about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.severity import Severity


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds, and that an alert tells of while it does."""

    tenant_id: str
    fingerprint: str
    """What it is about; the tenant has at most one alert of it that is not closed."""
    alert_type: AlertType
    severity: Severity
    summary: str
    """One sentence without a full stop. A change is an entry of the timeline: leave out what changes all the time."""
    details: Mapping[str, Any] = field(default_factory=dict)
    site_id: str | None = None
    device_id: str | None = None
    count: int | None = None
    """What the alert counts; None counts its changes."""
    started_at: datetime | None = None
    """Since when it holds, where that is known better than by being raised."""

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells it from all others."""
        return self.tenant_id, self.fingerprint
