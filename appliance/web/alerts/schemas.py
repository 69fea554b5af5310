"""The types of ``/customer/alerts``: its bodies and answers, and how they are made."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from appliance.alerts.actions import MAX_ALERTS, MAX_NOTE, AlertAnswer, AlertOutcome, AskedStep
from appliance.alerts.alert import AlertType, CloseReason, Status
from appliance.alerts.lifecycle import AlertStep
from appliance.alerts.store import ListedAlert
from appliance.alerts.timeline import TimelineEntry, TimelineKind
from appliance.db.audit import ActorKind
from appliance.severity import Severity
from appliance.web.alerts.actions import WholeAlert

NOTE = f"For the timeline, {MAX_NOTE} characters at most."

Note = Annotated[str, Meta(description=NOTE)]
Reason = Annotated[str, Meta(description=f"Required with `silence`. {NOTE}")]
Until = Annotated[datetime | None, Meta(description="Required with `silence`: its end, with an offset.")]


class AlertNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A note, which may be left out beside a step."""

    note: Note = ""


class AlertSilence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A silence: until when nobody is notified, and why."""

    until: Until = None
    reason: Reason = ""

    @property
    def step(self) -> AskedStep:
        """The step that is asked for."""
        return AskedStep(AlertStep.SILENCE, self.reason, self.until)


class AlertBulk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step for many alerts, in one transaction."""

    action: Annotated[str, Meta(description="acknowledge, unacknowledge, close, silence or unsilence.")]
    alert_ids: Annotated[tuple[int, ...], Meta(min_length=1, max_length=MAX_ALERTS)]
    note: Note = ""
    until: Until = None
    reason: Reason = ""


class AlertOut(msgspec.Struct, frozen=True, kw_only=True):
    """An alert."""

    alert_id: int
    tenant_id: str
    alert_type: AlertType
    status: Status
    severity: Severity
    summary: str
    details: Annotated[
        Mapping[str, Any], Meta(description="What its type tells: `metric`, `value`, `threshold` and others.")
    ]
    device_id: str | None
    device_name: str | None
    site_id: str | None
    site_name: str | None
    rule_id: UUID | None
    rule_name: str | None
    fingerprint: Annotated[str, Meta(description="What it is about; of the same, one at a time is not closed.")]
    created_at: Annotated[datetime, Meta(description="When it was written.")]
    started_at: Annotated[datetime, Meta(description="The time of the reading that opened it.")]
    last_triggered_at: datetime
    trigger_count: int
    past: Annotated[bool, Meta(description="It closed before its notices were due.")]
    inhibited_by: Annotated[int | None, Meta(description="The alert that stands for it; act on that one.")]
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silenced_until: datetime | None
    silenced_by: str | None
    silence_reason: str | None
    closed_at: datetime | None
    closed_by: Annotated[str | None, Meta(description="Null: the appliance.")]
    close_reason: CloseReason | None


class TimelineOut(msgspec.Struct, frozen=True, kw_only=True):
    """A step in the life of an alert, or a note."""

    at: datetime
    kind: TimelineKind
    actor: Annotated[str | None, Meta(description="Null: the appliance.")]
    actor_kind: ActorKind | None
    note: str | None
    details: Mapping[str, Any]


class AlertWhole(AlertOut, frozen=True, kw_only=True):
    """An alert with its timeline, newest first."""

    timeline: list[TimelineOut]


class AlertList(msgspec.Struct, frozen=True):
    """One page of alerts; ``next`` is the cursor of the next, if there is one."""

    items: list[AlertOut]
    next: str | None


class AlertBulkOut(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a step for one alert."""

    alert_id: int
    outcome: AlertOutcome
    status: Annotated[Status | None, Meta(description="The status now; null where there is no such alert.")]
    inhibited_by: Annotated[int | None, Meta(description="The alert that stands for it, if that is why.")]


class AlertBulkAnswer(msgspec.Struct, frozen=True):
    """An answer for each alert, in the order asked."""

    items: list[AlertBulkOut]


def listed_out(one: ListedAlert) -> AlertOut:
    """Return an alert of a list."""
    return AlertOut(**_fields(one))


def whole_out(one: WholeAlert) -> AlertWhole:
    """Return an alert with its timeline."""
    return AlertWhole(**_fields(one.listed), timeline=[_entry(entry) for entry in one.timeline])


def bulk_out(answers: list[AlertAnswer]) -> AlertBulkAnswer:
    """Return the answers of one step for many alerts."""
    return AlertBulkAnswer(
        [
            AlertBulkOut(alert_id=one.alert_id, outcome=one.outcome, status=one.status, inhibited_by=one.inhibited_by)
            for one in answers
        ]
    )


_OF_ALERT = tuple(name for name in AlertOut.__struct_fields__ if name not in {"device_name", "site_name", "rule_name"})


def _fields(one: ListedAlert) -> dict[str, Any]:
    names = {"device_name": one.device_name, "site_name": one.site_name, "rule_name": one.rule_name}
    return {name: getattr(one.alert, name) for name in _OF_ALERT} | names


def _entry(entry: TimelineEntry) -> TimelineOut:
    return TimelineOut(
        at=entry.at,
        kind=entry.kind,
        actor=entry.actor,
        actor_kind=entry.actor_kind,
        note=entry.note,
        details=entry.details,
    )
