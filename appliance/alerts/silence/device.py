"""A device that may be silent: the facts by which rules judge it, and its open alerts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from appliance.devices.live.presence import Presence

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OpenSilence:
    """An alert of a silent device that is not closed."""

    alert_id: int
    rule_id: UUID
    started_at: datetime
    """When the device, or the metric, had last been heard."""
    freed: bool
    """It is inhibited by an alert that does not stand for it any more."""


@dataclass(frozen=True, slots=True)
class QuietDevice:
    """An ACTIVE device that was heard at least once. Silences are seconds of listening."""

    tenant_id: str
    device_id: str
    site_id: str | None
    tags: Collection[str]
    subscription_id: str
    served: bool
    """Whether its tenant is not suspended."""
    presence: Presence
    heard_at: datetime
    silence: float
    offline_after: float
    """The silence that makes it OFFLINE."""
    said_offline: bool
    """It is OFFLINE because it, or its will, said so."""
    last_ts: datetime | None
    """The time of its newest reading."""
    metric_times: Mapping[str, int]
    """When the metrics came that rules name, in microseconds since 1970 UTC."""
    metric_silences: Mapping[str, float]
    """The silence of those for which it may be long enough."""
    alerts: Sequence[OpenSilence]

    def metric_at(self, metric: str) -> datetime | None:
        """Return the time of the newest value of a metric, None if none came since a rule names it."""
        micros = self.metric_times.get(metric)
        return None if micros is None else EPOCH + timedelta(microseconds=micros)

    def metric_silence(self, metric: str) -> float:
        """Return the silence of a metric, as far as it may be long enough.

        It is no longer than the device's own, and the time for which the device went on without the metric: one that
        delivers a backlog sends values that are old, and is not silent.
        """
        came = self.metric_at(metric)
        if came is None:
            return 0.0
        without = max(0.0, ((self.last_ts or came) - came).total_seconds())
        return min(self.metric_silences.get(metric, 0.0), self.silence + without)
