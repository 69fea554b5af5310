"""What became of a notice, in sentences, and its entry in the timeline of its alert. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import NamedTuple

from appliance.delivery.outbox.alert_notices import AlertNotice
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.delivery.senders.table import SENDERS
from appliance.web.access.auth import Viewer
from appliance.web.deliveries import labels
from appliance.web.deliveries.labels import StateLabel
from appliance.web.page import formats
from appliance.web.page.paths import of_tenant


class Seen(NamedTuple):
    """By whom and when a page is seen."""

    who: Viewer
    now: datetime

    @property
    def zone(self) -> tzinfo | None:
        """Return the zone of its times."""
        return self.who.zone


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """An entry of the timeline. ``strong``: the failure in it; ``href``: the delivery that needs a look."""

    at: float
    icon: str
    title: str
    note: str
    strong: str = ""
    href: str | None = None


def state_of(notice: AlertNotice, seen: Seen) -> StateLabel:
    """Return the state of a notice."""
    return labels.state_label(
        notice.status, notice.reason, notice.receipt, notice.next_run_at, now=seen.now, zone=seen.zone
    )


def announced(notice: AlertNotice, seen: Seen) -> str:
    """Return when a notice comes that follows another one."""
    event = labels.EVENTS[notice.event]
    if notice.event is JobEvent.REMINDER:
        at = labels.at_text(notice.next_run_at, seen.now, seen.zone)
        return f"Reminder at {at}, unless acknowledged or closed first"
    return f"{event}: {labels.held_text(notice.reason, notice.next_run_at, now=seen.now, zone=seen.zone)}"


def sentences(cause: str | None, notice: AlertNotice, seen: Seen) -> tuple[str, str]:
    """Return what happened to a notice, and what happens next to it."""
    event, newest = labels.EVENTS[notice.event], notice.newest
    if notice.status is JobStatus.COMPLETED or notice.receipt is Receipt.CONFIRMED:
        return f"{event}: {_answered(notice, seen)}.", ""
    if notice.status is JobStatus.DEAD:
        tries = "one try" if notice.attempts == 1 else f"{notice.attempts} tries"
        last = "" if newest is None else f", the last: {_result(notice)}"
        why = "" if notice.reason is None else f"{labels.REASONS[notice.reason]}."
        return f"Gave up after {tries}{last}.", why
    if notice.status is JobStatus.SKIPPED:
        if notice.carrier_alert is not None:
            return f"{event}: delivered with alert {notice.carrier_alert} in one notice.", ""
        why = f"{labels.REASONS[notice.reason]}." if notice.reason is not None else ""
        return f"{event}: not sent.", why
    if notice.status is JobStatus.PROCESSING:
        return f"{event}: it is being sent.", ""
    return _waiting(cause, notice, seen)


def _waiting(cause: str | None, notice: AlertNotice, seen: Seen) -> tuple[str, str]:
    at = labels.at_text(notice.next_run_at, seen.now, seen.zone)
    if notice.reason is Reason.UNREACHABLE:
        return "Nobody was reached yet.", "Sent when the connection returns"
    if notice.reason is Reason.RETRYING:
        return f"{notice.tries} of {labels.TRIES} tries, last: {_result(notice)}.", f"Next try {at}"
    if notice.reason is Reason.INHIBITED:
        return f"Inhibited by {cause or 'another alert'}.", "Sent when that alert closes, if this one is still open"
    if notice.reason in labels.HELD or notice.reason is Reason.BY_HAND:
        text = labels.held_text(notice.reason, notice.next_run_at, now=seen.now, zone=seen.zone)
        still = notice.event is JobEvent.OPEN and notice.reason in labels.HELD
        return text, "Sent then, if the alert is still open" if still else ""
    exact = formats.moment_of(notice.next_run_at.timestamp(), seen.now.timestamp(), seen.zone)
    if (notice.next_run_at - seen.now).total_seconds() < 1:
        return "Sent as soon as its turn comes.", ""
    return f"Sent at {exact}", "unless acknowledged or closed first"


def _answered(notice: AlertNotice, seen: Seen) -> str:
    if notice.carrier_alert is not None:
        return f"delivered with alert {notice.carrier_alert} in one notice"
    if notice.newest is None:
        return "delivered"
    at = formats.moment_of(notice.newest.at.timestamp(), seen.now.timestamp(), seen.zone)
    return f"{_result(notice)}, {at}"


def _result(notice: AlertNotice) -> str:
    newest = notice.newest
    return "no answer" if newest is None else labels.answer_text(newest.outcome, newest.http_status, newest.latency_ms)


def timeline_rows(notices: Sequence[AlertNotice], tenant_id: str, seen: Seen) -> Iterator[NoticeRow]:
    """Yield the entries of notices that were tried or have ended; each by its newest try."""
    for notice in notices:
        if notice.carrier_alert is None and notice.newest is not None:
            yield _tried_row(notice, tenant_id, seen)
        elif notice.finished_at is not None:
            yield NoticeRow(notice.finished_at.timestamp(), "i-minus", _route(notice), *_ended(notice))


def _tried_row(notice: AlertNotice, tenant_id: str, seen: Seen) -> NoticeRow:
    at = notice.newest.at.timestamp() if notice.newest is not None else 0.0
    by, result = _type(notice), _result(notice)
    if notice.status is JobStatus.COMPLETED or notice.receipt is Receipt.CONFIRMED:
        event = "" if notice.event is JobEvent.OPEN else f", {labels.EVENTS[notice.event].lower()}"
        return NoticeRow(at, "i-check", f"{_route(notice)} delivered{event}", f"{by}{result}")
    href = of_tenant("/deliveries", seen.who, tenant_id, open=str(notice.job_id))
    if notice.status is JobStatus.DEAD:
        why = "" if notice.reason is None else labels.REASONS[notice.reason]
        return NoticeRow(at, "i-archive-restore", _route(notice), f"{by}{result}. {why}.", "failed for good", href)
    if notice.status is not JobStatus.PENDING:
        return NoticeRow(at, "i-minus", _route(notice), *_ended(notice))
    following = labels.at_text(notice.next_run_at, seen.now, seen.zone)
    tries = "no try counts yet" if not notice.tries else f"try {notice.tries} of {labels.TRIES}"
    return NoticeRow(
        at, "i-rotate-ccw", _route(notice), f"{by}{tries}, next at {following}.", f"failed, {result}", href
    )


def _ended(notice: AlertNotice) -> tuple[str, str]:
    """Return the note of a notice that was not sent by itself, and what stands out of it."""
    if notice.carrier_alert is not None:
        return f"{labels.EVENTS[notice.event]}: delivered with alert {notice.carrier_alert} in one notice", ""
    why = "" if notice.reason is None else labels.REASONS[notice.reason]
    return f"{labels.EVENTS[notice.event]}: not sent. {why}.", ""


def _route(notice: AlertNotice) -> str:
    return notice.route_name or "Deleted route"


def _type(notice: AlertNotice) -> str:
    sender = SENDERS.get(notice.integration_type or "")
    return "" if sender is None else f"{sender.label}, "
