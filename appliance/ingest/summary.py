"""The summary of a committed batch for listeners: counts and a few readings. It may be lost; the ledger is exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.reading import Kind, Reason


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages of one tenant in one batch, by outcome: ``received = stored + refused + duplicate + cleared``."""

    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int = 0

    @property
    def accepted(self) -> int:
        """Return the number of messages that were stored or are there already."""
        return self.stored + self.duplicate


@dataclass(frozen=True, slots=True)
class LastReading:
    """A reading as the live view shows it. Times are seconds since 1970-01-01 UTC."""

    tenant_id: str
    device_id: str
    ts: float
    received_at: float
    kind: Kind
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """One committed batch. ``committed_at`` is in seconds since 1970-01-01 UTC.

    ``last_readings`` are its newest readings, oldest first: a handful is enough, more are dropped by the view.
    ``tenants`` splits the counts by tenant ('' for messages of no known tenant); it may be left empty.
    """

    committed_at: float
    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    last_readings: Sequence[LastReading] = ()
    tenants: Mapping[str, Counts] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Return the number of messages that were stored or are there already."""
        return self.stored + self.duplicate
