"""Deliveries in words: what each tells, where it stands, and why."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt

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
        JobStatus.DEAD: "Failed",
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
        Reason.THROTTLED: "The same was told within the throttle of the route",
        Reason.MERGING: "Gathered with others: the route has told its burst in this minute",
        Reason.UNREACHABLE: "No way out: the receiver cannot be reached",
        Reason.RETRYING: "The last try failed; it is tried again",
        Reason.WAITING: "An earlier notice of the alert comes first",
        Reason.BY_HAND: "Sent again by hand",
        Reason.OVERTAKEN: "The alert moved on before it was sent",
        Reason.MERGED: "Told together with others",
        Reason.NOT_TOLD: "The opening was never delivered, so there is nothing to end",
        Reason.ROUTE_OFF: "The route or its integration is disabled or deleted",
        Reason.NO_MATCH: "The route was changed and does not take the alert any more",
        Reason.CANCELLED: "Cancelled",
        Reason.EXHAUSTED: "Every try failed",
        Reason.REFUSED: "The receiver refused it",
        Reason.GONE: "The receiver is gone (410); the integration was disabled",
        Reason.TOO_OLD: "It waited too long for a way out",
    }
)
"""Held (waiting), skipped or failed alike: the status beside it says which."""
