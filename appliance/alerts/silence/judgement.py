"""Whether a device is silent, by one rule: a pure step from what is known to what has to be done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from appliance.alerts.alert import CloseReason
from appliance.alerts.silence.device import QuietDevice
from appliance.alerts.silence.rules import RulesOfTenants, SilenceRule
from appliance.devices.live.presence import Presence

AHEAD = timedelta(minutes=5)
"""By how much another appliance's clock may be ahead of ours. A later time was written by a wrong clock: nothing is
concluded from it before it is healed."""
MINUTE, HOUR, DAY = 60, 3600, 86_400


class Verdict(Enum):
    """What is concluded of a device and a rule."""

    SILENT = "silent"
    BACK = "back"
    """It talks, or the rule asks for a longer silence by now."""
    UNKNOWN = "unknown"
    """Neither: what is open stays open, and nothing opens."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How a device stands with a rule."""

    silent: bool
    since: datetime
    """When the device, or the metric, was last heard."""
    lasted: float
    """Seconds since then, whoever listened."""
    limit: float
    """Seconds of silence after which the rule opens."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An alert that should be open."""

    device: QuietDevice
    rule: SilenceRule
    silence: Silence

    @property
    def fingerprint(self) -> str:
        """Return what the alert is known by."""
        return self.rule.fingerprint(self.device.device_id)

    @property
    def summary(self) -> str:
        """Return what is wrong, in words."""
        if self.rule.metric is not None:
            return f"No reading of {self.rule.metric} for {lasting(self.silence.lasted)}"
        if self.device.said_offline and self.device.silence < self.silence.limit:
            return "Went offline"
        return f"No message for {lasting(self.silence.lasted)}"

    @property
    def details(self) -> dict[str, Any]:
        """Return the silence in numbers: seconds."""
        metric = {} if self.rule.metric is None else {"metric": self.rule.metric}
        return {**metric, "value": round(self.silence.lasted), "threshold": round(self.silence.limit)}


@dataclass(frozen=True, slots=True)
class Conclusions:
    """What is to be done with the alerts of some devices."""

    openings: Sequence[Opening]
    ended: Sequence[int]
    """Ids of alerts whose device is back."""
    freed: Sequence[tuple[QuietDevice, int]]
    """Ids of alerts of silent devices that no other alert stands for any more."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest alert of a rule and a device."""

    close_reason: str | None
    rule_version: int
    started_at: datetime
    closed_at: datetime | None


def silence_of(rule: SilenceRule, device: QuietDevice, now: datetime) -> Silence | None:
    """Return how the device stands with the rule, None if nothing can be concluded."""
    since = device.heard_at if rule.metric is None else device.metric_at(rule.metric)
    if since is None or device.heard_at > now + AHEAD:
        return None
    limit = device.offline_after if rule.seconds is None else rule.seconds
    if rule.metric is not None:
        silent = device.metric_silence(rule.metric) >= limit
    elif rule.seconds is None:
        silent = device.presence is Presence.OFFLINE
    else:
        silent = device.silence >= limit
    talks = device.presence is Presence.REFUSED
    return Silence(silent and not talks, since, max(0.0, (now - since).total_seconds()), limit)


def verdict(silence: Silence | None, started_at: datetime) -> Verdict:
    """Return what becomes of an open alert.

    A silence that is not long enough any more, without a message, is no return: a stretch of listening was forgotten,
    or healed away. Only where the rule asks for more than has passed by any reckoning it is over.
    """
    if silence is None:
        return Verdict.UNKNOWN
    if silence.silent:
        return Verdict.SILENT
    return Verdict.BACK if silence.since > started_at or silence.lasted < silence.limit else Verdict.UNKNOWN


def conclude(devices: Iterable[QuietDevice], rules: RulesOfTenants, now: datetime) -> Conclusions:
    """Return what is to be done with the alerts of ``devices``."""
    openings: list[Opening] = []
    ended: list[int] = []
    freed: list[tuple[QuietDevice, int]] = []
    for device in devices:
        alerts = {alert.rule_id: alert for alert in device.alerts}
        for rule in rules.get(device.tenant_id, ()):
            alert = alerts.get(rule.rule_id)
            if alert is None and not rule.scope.covers(device.device_id, device.site_id, device.tags):
                continue
            silence = silence_of(rule, device, now)
            if alert is None:
                if silence is not None and silence.silent and not _too_new(rule, silence, now):
                    openings.append(Opening(device, rule, silence))
                continue
            found = verdict(silence, alert.started_at)
            if found is Verdict.BACK:
                ended.append(alert.alert_id)
            elif found is Verdict.SILENT and alert.freed:
                freed.append((device, alert.alert_id))
    return Conclusions(openings, ended, freed)


def _too_new(rule: SilenceRule, silence: Silence, now: datetime) -> bool:
    """Return whether the time of a metric may not be the newest: it is kept only while a rule names the metric.

    A rule that is made or enabled gives each device its full silence from then on.
    """
    since = (now - rule.changed_at).total_seconds()
    return rule.metric is not None and -AHEAD.total_seconds() <= since < silence.limit


def held_back(opening: Opening, newest: Newest | None, now: datetime, reopen_after: float) -> bool:
    """Return whether a person has closed the alert of this very silence, less than ``reopen_after`` seconds ago."""
    if newest is None or newest.close_reason != CloseReason.CLOSED or newest.rule_version != opening.rule.version:
        return False
    closed_at = newest.closed_at
    recent = closed_at is not None and closed_at <= now + AHEAD and (now - closed_at).total_seconds() < reopen_after
    return recent and opening.silence.since <= newest.started_at


def lasting(seconds: float) -> str:
    """Return a duration in words: ``75 s``, ``12 min``, ``5 h``, ``3 days``."""
    for unit, length, most in (("s", 1, 2 * MINUTE), ("min", MINUTE, 2 * HOUR), ("h", HOUR, 2 * DAY)):
        if seconds < most:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds / DAY)} days"
