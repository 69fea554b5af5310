"""A notice: one message about one alert, or about several that were gathered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.delivery.outbox.job import JobEvent
from appliance.severity import Severity


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What a notice says of an alert, as it is when the notice is made."""

    alert_id: int
    tenant_id: str
    alert_type: str
    severity: Severity
    status: str
    summary: str
    details: Mapping[str, Any]
    """As ``fleet_alert.details`` has it: ``value``, ``threshold``, ``metric``, ``operator`` and others."""
    trigger_count: int
    created_at: datetime
    started_at: datetime
    last_triggered_at: datetime
    past: bool
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    closed_at: datetime | None
    closed_by: str | None
    close_reason: str | None
    device_id: str | None
    device_name: str | None
    place: str | None
    site_id: str | None
    site_name: str | None
    zone: str
    """IANA name: the site's, else the tenant's."""
    rule_id: UUID | None
    rule_name: str | None
    metric_label: str | None
    unit: str | None
    decimals: int | None

    @property
    def hops(self) -> int:
        """How often the message that opened it had been passed on from a notice."""
        found = self.details.get("hop_count")
        return found if isinstance(found, int) else 0


@dataclass(frozen=True, slots=True)
class Notice:
    """What one try sends. With ``merged`` it is one notice of several alerts, of which ``alert`` is the first."""

    message_id: UUID
    """The same on every try of the job."""
    event: JobEvent
    occurrence: int
    appliance: str
    """The instance id, part of keys by which receivers tell appliances apart."""
    alert: AlertFacts
    url: str
    """The page of the alert."""
    made_at: datetime
    acknowledge_url: str | None = field(default=None, repr=False)
    """A secret: whoever has it can acknowledge the alert once."""
    opening_id: UUID | None = None
    """Of an acknowledgement or an end: the message_id of the OPEN by the same route, for threads of mail."""
    merged: Sequence[AlertFacts] = ()
    """Further alerts that the same notice tells, at most a hundred of them."""
    merged_count: int = 0
    """How many further ones there are."""
    test: bool = False
    """Whether a person asked for a sample."""

    @property
    def hop_count(self) -> int:
        """One more than the message had that led to it, so that what comes back to us again and again ends."""
        return 1 + max(one.hops for one in (self.alert, *self.merged))
