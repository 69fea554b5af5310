"""Labels of alerts: severities, types, statuses, tabs, ends, timeline entries, outcomes. The API and CSV show codes."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.alerts.actions import AlertOutcome
from appliance.alerts.alert import AlertType, CloseReason, Status
from appliance.alerts.lifecycle import AlertStep
from appliance.alerts.store import AlertSort, AlertTab
from appliance.alerts.timeline import TimelineKind
from appliance.severity import Severity

SEVERITIES: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.CRITICAL: "Critical",
        Severity.HIGH: "High",
        Severity.MEDIUM: "Medium",
        Severity.LOW: "Low",
        Severity.INFO: "Info",
    }
)

ALERT_TYPES: Mapping[AlertType, str] = MappingProxyType(
    {
        AlertType.THRESHOLD: "Limit exceeded",
        AlertType.WINDOW: "Limit over a window exceeded",
        AlertType.NO_HEARTBEAT: "Device offline",
        AlertType.SITE_SILENT: "Site silent",
        AlertType.MESSAGES_LOST: "Messages lost",
        AlertType.NO_DATA: "No data",
        AlertType.CHANGE: "Value changed",
        AlertType.SUBSCRIPTION_EXPIRING: "Subscription ends",
        AlertType.CAPACITY: "Seats running out",
        AlertType.APPROVAL: "Devices wait for approval",
        AlertType.INTEGRATION_FAILING: "Integration fails",
        AlertType.SYSTEM: "Appliance",
    }
)

STATUSES: Mapping[Status, str] = MappingProxyType(
    {Status.OPEN: "Open", Status.ACKNOWLEDGED: "Acknowledged", Status.CLOSED: "Closed"}
)

TABS: Mapping[AlertTab, str] = MappingProxyType(
    {
        AlertTab.OPEN: "Open",
        AlertTab.ACKNOWLEDGED: "Acknowledged",
        AlertTab.SILENCED: "Silenced",
        AlertTab.INHIBITED: "Inhibited",
        AlertTab.CLOSED: "Closed",
        AlertTab.ALL: "All",
    }
)

SORTS: Mapping[AlertSort, str] = MappingProxyType(
    {
        AlertSort.SEVERITY: "Most severe, longest waiting",
        AlertSort.NEWEST: "Newest",
        AlertSort.OLDEST: "Oldest",
        AlertSort.DEVICE: "Device",
    }
)

CLOSE_REASONS: Mapping[CloseReason, str] = MappingProxyType(
    {
        CloseReason.CLEARED: "The condition ended",
        CloseReason.CLOSED: "Closed by a person",
        CloseReason.SUPERSEDED: "The next warning took its place",
        CloseReason.RULE_CHANGED: "The rule was changed",
        CloseReason.RULE_DISABLED: "The rule was switched off",
        CloseReason.RULE_DELETED: "The rule was deleted",
        CloseReason.DEVICE_DEACTIVATED: "The device was deactivated",
        CloseReason.DEVICE_DELETED: "The device was deleted",
        CloseReason.OUT_OF_SCOPE: "The rule no longer covers the device",
    }
)

TIMELINE: Mapping[TimelineKind, str] = MappingProxyType(
    {
        TimelineKind.OPENED: "Opened",
        TimelineKind.ACKNOWLEDGED: "Acknowledged",
        TimelineKind.UNACKNOWLEDGED: "Acknowledgement undone",
        TimelineKind.CLOSED: "Closed",
        TimelineKind.SILENCED: "Silenced",
        TimelineKind.UNSILENCED: "Silence ended",
        TimelineKind.NOTE: "Note",
        TimelineKind.INHIBITED: "Inhibited by another alert",
        TimelineKind.RELEASED: "No longer inhibited",
        TimelineKind.UPDATED: "Updated",
    }
)

STEPS: Mapping[AlertStep, str] = MappingProxyType(
    {
        AlertStep.ACKNOWLEDGE: "Acknowledge",
        AlertStep.UNACKNOWLEDGE: "Undo acknowledgement",
        AlertStep.CLOSE: "Close",
        AlertStep.SILENCE: "Silence",
        AlertStep.UNSILENCE: "End silence",
        AlertStep.DELETE: "Delete",
    }
)
"""The labels of buttons."""

OUTCOMES: Mapping[AlertOutcome, str] = MappingProxyType(
    {
        AlertOutcome.DONE: "Done",
        AlertOutcome.UNCHANGED: "Unchanged",
        AlertOutcome.CONFLICT: "Not possible",
        AlertOutcome.NOT_FOUND: "Not found",
    }
)
