"""Deliveries in words: what each tells, where it stands, and why. The API and CSV show codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import MappingProxyType

from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.delivery.outbox.retries import STEPS
from appliance.web.page import formats

TRIES = len(STEPS) + 1
"""Tries at most after which somebody was reached."""

EVENTS: Mapping[JobEvent, str] = MappingProxyType(
    {
        JobEvent.OPEN: "Opened",
        JobEvent.REMINDER: "Reminder",
        JobEvent.ACKNOWLEDGED: "Acknowledged",
        JobEvent.CLOSED: "Closed",
    }
)
STATUSES: Mapping[JobStatus, str] = MappingProxyType(
    {
        JobStatus.PENDING: "Waiting",
        JobStatus.PROCESSING: "Sending",
        JobStatus.COMPLETED: "Delivered",
        JobStatus.DEAD: "Dead",
        JobStatus.SKIPPED: "Skipped",
    }
)
RECEIPTS: Mapping[Receipt, str] = MappingProxyType(
    {
        Receipt.NONE: "Reached nobody",
        Receipt.REFUSED: "Refused",
        Receipt.POSSIBLE: "May have arrived",
        Receipt.CONFIRMED: "Arrived",
    }
)
REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.MAINTENANCE: "A maintenance window covers the alert",
        Reason.SILENCED: "The alert is silenced",
        Reason.INHIBITED: "Another alert stands for this one",
        Reason.QUIET_HOURS: "Quiet hours of the route",
        Reason.DELAYED: "The delay of the route",
        Reason.THROTTLED: "The same alert was delivered within the throttle of the route",
        Reason.MERGING: "Merged with others: the route has sent its burst in this minute",
        Reason.UNREACHABLE: "No way out: the receiver cannot be reached",
        Reason.RETRYING: "The last try failed; it is tried again",
        Reason.WAITING: "An earlier notice of the alert comes first",
        Reason.BY_HAND: "Sent again by hand",
        Reason.UNCONFIRMED: "Restored from a backup: held until an operator confirms that the old machine is off",
        Reason.SUPERSEDED: "A later alert replaces this one, and is delivered instead",
        Reason.OVERTAKEN: "The alert moved on before it was sent",
        Reason.MERGED: "Delivered together with others",
        Reason.NOT_TOLD: "The opening was never delivered, so there is nothing to close",
        Reason.ROUTE_OFF: "The route is disabled or deleted",
        Reason.INTEGRATION_OFF: "The integration is disabled or deleted",
        Reason.NO_MATCH: "The route was changed and does not match the alert any more",
        Reason.CANCELLED: "Cancelled",
        Reason.RESTORED: "Restored from a backup: the old machine may have sent it",
        Reason.EXHAUSTED: "Every try failed",
        Reason.REFUSED: "The receiver refused it",
        Reason.GONE: "The receiver is gone (410); the integration was disabled",
        Reason.TOO_OLD: "It waited too long for a way out",
    }
)
"""Held (waiting), skipped or dead alike: the status beside it says which."""

HELD = frozenset(
    {
        Reason.MAINTENANCE,
        Reason.SILENCED,
        Reason.INHIBITED,
        Reason.QUIET_HOURS,
        Reason.THROTTLED,
        Reason.MERGING,
        Reason.WAITING,
        Reason.UNCONFIRMED,
    }
)
"""Reasons for which a notice waits for something to end, not for a time of its own."""

OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "delivered": "Delivered",
        "retry": "Failed",
        "refused": "Refused",
        "gone": "Gone",
        "unreached": "Nobody reached",
        "lost": "No answer kept",
    }
)
"""What a try came to, where no status says it."""


@dataclass(frozen=True, slots=True)
class StateLabel:
    """A state as pages show it. ``kind``: the class of its badge; empty: no badge, since nothing is wrong or due."""

    text: str
    kind: str
    icon: str


def state_label(
    status: JobStatus,
    reason: Reason | None,
    receipt: Receipt,
    next_run_at: datetime,
    *,
    now: datetime,
    zone: tzinfo | None,
) -> StateLabel:
    """Return the state of a notice."""
    if status is JobStatus.COMPLETED or receipt is Receipt.CONFIRMED:
        return StateLabel("Delivered", "ok", "i-check")
    if status is JobStatus.DEAD:
        return StateLabel("Dead", "crit", "i-archive-restore")
    if status is JobStatus.SKIPPED:
        text = {Reason.MERGED: "Merged", Reason.CANCELLED: "Cancelled"}.get(reason, "Skipped") if reason else "Skipped"
        return StateLabel(text, "", "i-minus")
    if status is JobStatus.PROCESSING:
        return StateLabel("Sending", "accent", "i-send")
    if reason is Reason.UNREACHABLE:
        return StateLabel("Waiting for connection", "medium", "i-unplug")
    if reason is Reason.RETRYING:
        return StateLabel(f"Next try {at_text(next_run_at, now, zone)}", "medium", "i-rotate-ccw")
    if reason in HELD:
        return StateLabel("On hold", "accent", "i-pause")
    wait = (next_run_at - now).total_seconds()
    if wait < 1:
        return StateLabel("Due", "accent", "i-clock")
    return StateLabel(f"In {formats.ago(0, wait).removesuffix(' ago')}", "accent", "i-clock")


def at_text(at: datetime, now: datetime, zone: tzinfo | None) -> str:
    """Return a time of today as ``14:48``, another with its day: ``24 Nov 06:00``."""
    when = formats.local(at.timestamp(), zone)
    today = formats.local(now.timestamp(), zone).date()
    return f"{when:%H:%M}" if when.date() == today else f"{when:%-d %b %H:%M}"


def held_text(reason: Reason | None, next_run_at: datetime, *, now: datetime, zone: tzinfo | None) -> str:
    """Return why a notice waits, and until when if a time is known."""
    until = at_text(next_run_at, now, zone)
    why = "" if reason is None else REASONS[reason]
    if reason in (Reason.MAINTENANCE, Reason.SILENCED, Reason.QUIET_HOURS, Reason.THROTTLED, Reason.MERGING):
        return f"{why}, until {until}."
    return f"{why}." if why else "It is sent as soon as it is due."


def answer_text(outcome: str, http_status: int | None, latency_ms: int) -> str:
    """Return how a try went: ``200 in 0.3 s``, ``Nobody reached after 5 s``."""
    took = formats.lasting(round(latency_ms / 1000, 1)) if latency_ms >= 1000 else f"{latency_ms / 1000:.1f} s"
    what = OUTCOMES.get(outcome, outcome) if http_status is None else str(http_status)
    return f"{what} in {took}" if outcome == "delivered" or http_status is not None else f"{what} after {took}"
