"""What a route would have taken of the newest alerts, in words: the count, and of each alert why or why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.delivery.routes.explanation import JudgedAlert
from appliance.delivery.routes.matching import Condition
from appliance.severity import Severity

WHY = {
    Condition.SEVERITY: "another severity",
    Condition.ALERT_TYPE: "another type",
    Condition.SITE: "another site",
    Condition.TAGS: "no such tag",
    Condition.DEVICE_PREFIX: "another device",
}
GLYPHS = {
    Severity.CRITICAL: "g-crit",
    Severity.HIGH: "g-high",
    Severity.MEDIUM: "g-medium",
    Severity.LOW: "g-low",
    Severity.INFO: "g-info",
}


@dataclass(frozen=True, slots=True)
class PreviewedAlert:
    """One of the newest alerts."""

    alert_id: int
    summary: str
    device: str
    glyph: str
    severity: str
    created_at: datetime
    taken: bool
    why: str
    """Why it would not have been taken."""


@dataclass(frozen=True, slots=True)
class ShownPreview:
    """What a route would have taken, or why that cannot be said."""

    alerts: Sequence[PreviewedAlert] = ()
    problem: str = ""

    @property
    def taken(self) -> int:
        """Return how many it would have taken."""
        return sum(one.taken for one in self.alerts)


def shown(judged: Sequence[JudgedAlert]) -> ShownPreview:
    """Return a preview as the page shows it."""
    return ShownPreview([_alert(one) for one in judged])


def _alert(judged: JudgedAlert) -> PreviewedAlert:
    subject, decision = judged.subject, judged.decision
    reasons = [WHY[reason.condition] for reason in decision.reasons if not reason.matches and reason.condition in WHY]
    if decision.stopped_by is not None:
        reasons.append(f"{decision.stopped_by.name} stops before it")
    return PreviewedAlert(
        judged.alert_id,
        judged.summary,
        subject.device_id or subject.site_id or "",
        GLYPHS[subject.severity],
        subject.severity.value.capitalize(),
        judged.created_at,
        decision.taken,
        ", ".join(reasons),
    )
