"""The life of an alert: theory, table, and the function that reads it.

Theory. An alert begins as OPEN. People acknowledge it (somebody is on it), undo that, and close it; the appliance
closes it when its condition has cleared. CLOSED is the end: the same condition opens a new alert, not this one.

    OPEN --acknowledge--> ACKNOWLEDGED --close--> CLOSED --delete--> (gone)
    OPEN <--unacknowledge-- ACKNOWLEDGED
    OPEN --close--> CLOSED

Silence stands beside the status: it says until when nobody is notified, so it is for alerts that are not closed and
leaves the status as it is. What is inhibited by another alert has no steps of its own until it is released or closed;
that is for the caller to check, since it is no status. Notes are allowed in every status and are no steps.

A step that the table does not have is refused with the present status, which whoever asked may not have seen yet.
"""

from collections.abc import Mapping
from enum import StrEnum

from appliance.alerts.alert import Status
from appliance.errors import Conflict


class AlertStep(StrEnum):
    """A step in the life of an alert, as the API calls it."""

    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    CLOSE = "close"
    SILENCE = "silence"
    UNSILENCE = "unsilence"
    DELETE = "delete"


TRANSITIONS: Mapping[AlertStep, Mapping[Status, Status | None]] = {
    AlertStep.ACKNOWLEDGE: {Status.OPEN: Status.ACKNOWLEDGED},
    AlertStep.UNACKNOWLEDGE: {Status.ACKNOWLEDGED: Status.OPEN},
    AlertStep.CLOSE: {Status.OPEN: Status.CLOSED, Status.ACKNOWLEDGED: Status.CLOSED},
    AlertStep.SILENCE: {Status.OPEN: Status.OPEN, Status.ACKNOWLEDGED: Status.ACKNOWLEDGED},
    AlertStep.UNSILENCE: {Status.OPEN: Status.OPEN, Status.ACKNOWLEDGED: Status.ACKNOWLEDGED},
    AlertStep.DELETE: {Status.CLOSED: None},
}
"""The status after each step, by the status before it; None: the alert is gone. What is not here cannot be done."""

REFUSALS: Mapping[AlertStep, str] = {
    AlertStep.ACKNOWLEDGE: "only an open alert can be acknowledged",
    AlertStep.UNACKNOWLEDGE: "only an acknowledged alert can be opened again",
    AlertStep.CLOSE: "it cannot be closed again",
    AlertStep.SILENCE: "a closed alert cannot be silenced",
    AlertStep.UNSILENCE: "a closed alert is not silenced",
    AlertStep.DELETE: "only a closed alert can be deleted; close it first",
}
"""Why a step is refused, behind the present status."""


def possible(step: AlertStep, present: Status) -> bool:
    """Return whether an alert of this status can take the step."""
    return present in TRANSITIONS[step]


def reached(step: AlertStep, present: Status) -> bool:
    """Return whether the alert already has the status that the step leads to, so that the step would change nothing."""
    return not possible(step, present) and present in TRANSITIONS[step].values()


def check(step: AlertStep, present: Status) -> None:
    """Raise Conflict, which carries the present status, if an alert of this status cannot take the step."""
    if not possible(step, present):
        raise refused(step, present)


def refused(step: AlertStep, present: Status) -> Conflict:
    """Return the error for a step that is not possible in this status."""
    return Conflict(f"This alert is {present.value}: {REFUSALS[step]}.", present.value)
