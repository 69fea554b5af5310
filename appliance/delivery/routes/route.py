"""A route: what it takes, where that goes, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from uuid import UUID

from appliance.severity import Severity


class DeliverOn(StrEnum):
    """The steps of an alert that a route can tell."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When notices wait, every day: local times, past midnight where ``begins`` is later than ``ends``."""

    begins: time
    ends: time
    zone: str
    """An IANA name."""
    spares_critical: bool
    """Whether critical alerts are told all the same."""


@dataclass(frozen=True, slots=True)
class Route:
    """A row of ``integration_routes``. An empty list means all; ``severities`` is never empty."""

    tenant_id: str
    route_id: UUID
    name: str
    enabled: bool
    integration_id: UUID
    severities: Sequence[Severity]
    alert_types: Sequence[str]
    site_ids: Sequence[str]
    tags: Sequence[str]
    device_prefixes: Sequence[str]
    deliver_on: Sequence[DeliverOn]
    priority: int
    """Low first, of equal ones by ``route_id``."""
    stop: bool
    """Whether no later route is tried for an event that this one takes."""
    delay_seconds: int
    remind_minutes: int
    throttle_seconds: int
    burst: int
    """Notices of alerts a minute before further ones are gathered; 0: never gathered."""
    quiet: QuietHours | None
    version: int
    created_at: datetime
    updated_at: datetime
