"""A delivery as rows and the opened delivery show it: state, tries as pips, answers, what may be done. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType

from appliance.delivery.outbox.deliveries import TRIED, Attempt, Delivery
from appliance.delivery.outbox.job import JobStatus, Reason
from appliance.delivery.senders.table import SENDERS
from appliance.severity import Severity
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.deliveries import labels
from appliance.web.deliveries.labels import StateLabel, at_text
from appliance.web.page import formats
from appliance.web.page.paths import of_tenant, to_device

SEVERITY_CLASSES: Mapping[Severity, str] = MappingProxyType(
    {one: one.value for one in Severity} | {Severity.CRITICAL: "crit"}
)
ORDINALS = ("first", "second", "third")
SHOWN_TRIES = 12
"""Tries that the opened delivery lists; one that finds no way out has hundreds."""
USED, DELIVERED, FINAL, FREE = "f-s4", "f-ok", "f-crit", "f-track"
"""The fills of a pip."""


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    """A delivery with everything that its row says."""

    one: Delivery
    severity: str
    event: str
    at: float
    icon: str
    type_label: str
    state: StateLabel
    pips: Sequence[str]
    tries: str
    alert_href: str
    device_href: str | None
    integration_href: str
    retry_href: str | None
    """Where the viewer sends it again; None: there is nothing to send, or they may not."""
    retry_label: str
    cancel_href: str | None

    @property
    def job_id(self) -> int:
        """Return its id."""
        return self.one.job_id


@dataclass(frozen=True, slots=True)
class ShownTry:
    """One try of an opened delivery."""

    at: float
    delivered: bool
    result: str
    answer: str
    address: str
    took: str
    then: str
    """When the next one follows, or followed."""


@dataclass(frozen=True, slots=True)
class OpenedDelivery:
    """What is shown below the row of an opened delivery."""

    row: ShownDelivery
    tries: Sequence[ShownTry]
    earlier: int
    """Tries that are not listed."""
    used: str
    """How many steps are used and what follows, in words."""
    why: str
    """Why it waits, was skipped, or is dead; empty for one that was delivered."""
    request: str
    carrier_href: str | None
    """The delivery whose notice tells this one."""


def shown(one: Delivery, newest: Attempt | None, who: Viewer, now: datetime) -> ShownDelivery:
    """Return what a row says of a delivery; ``newest``: its newest try."""
    sender = SENDERS.get(one.integration_type or "")
    may_retry = one.status is JobStatus.DEAD or (one.status is JobStatus.PENDING and one.reason in TRIED)
    acts = who.role in RESPONDERS
    return ShownDelivery(
        one=one,
        severity=SEVERITY_CLASSES[one.severity],
        event=labels.EVENTS[one.event],
        at=one.created_at.timestamp(),
        icon="i-waypoints" if sender is None else sender.icon,
        type_label="" if sender is None else sender.label,
        state=labels.state_label(one.status, one.reason, one.receipt, one.next_run_at, now=now, zone=who.zone),
        pips=pips(one.status, one.tries),
        tries=tries_text(one, newest),
        alert_href=of_tenant(f"/alerts/{one.alert_id}", who, one.tenant_id),
        device_href=None if one.device_id is None else to_device(who, one.tenant_id, one.device_id),
        integration_href=of_tenant(f"/integrations/{one.integration_id}", who, one.tenant_id),
        retry_href=_step(one, who, "retry") if acts and may_retry else None,
        retry_label="Try again" if one.status is JobStatus.DEAD else "Try now",
        cancel_href=_step(one, who, "cancel") if acts and one.status is JobStatus.PENDING else None,
    )


def pips(status: JobStatus, tries: int) -> list[str]:
    """Return the fill of each pip: tries that used a step, the last one as it ended, and the steps that are free."""
    used = min(tries, labels.TRIES)
    fills = [USED] * used + [FREE] * (labels.TRIES - used)
    if used and status is JobStatus.COMPLETED:
        fills[used - 1] = DELIVERED
    elif used and status is JobStatus.DEAD:
        fills[used - 1] = FINAL
    return fills


def tries_text(one: Delivery, newest: Attempt | None) -> str:
    """Return the tries in words, with the last answer."""
    answer = None if newest is None else newest.http_status
    if one.status is JobStatus.SKIPPED:
        return labels.REASONS[one.reason] if one.reason is not None else ""
    if one.status is JobStatus.COMPLETED:
        which = f"{ORDINALS[one.tries - 1]} try" if 1 <= one.tries <= len(ORDINALS) else f"try {one.tries}"
        return which if answer is None else f"{which}, {answer}"
    if one.attempt_count == 0 and one.reason is not None:
        return labels.REASONS[one.reason]
    of = f"{min(one.tries, labels.TRIES)} of {labels.TRIES}"
    if one.status is JobStatus.DEAD and one.reason is not Reason.EXHAUSTED:
        if one.reason is Reason.TOO_OLD:
            return f"{of}, no way out for too long"
        return of if answer is None else f"{of}, {answer} is final"
    if one.reason is Reason.UNREACHABLE:
        return f"{of}, no connection"
    return of if answer is None else f"{of}, last {answer}"


def opened(row: ShownDelivery, attempts: Sequence[Attempt], who: Viewer, now: datetime) -> OpenedDelivery:
    """Return what is shown of an opened delivery; ``attempts`` newest first."""
    one = row.one
    listed = attempts[:SHOWN_TRIES]
    waits = one.next_run_at if one.status is JobStatus.PENDING else None
    request = next((attempt.request for attempt in attempts if attempt.request), "")
    carrier = None
    if one.merged_into is not None:
        carrier = of_tenant("/deliveries", who, one.tenant_id, open=str(one.merged_into), span="90d")
    return OpenedDelivery(
        row=row,
        tries=list(_tries(listed, waits, now)),
        earlier=max(one.attempt_count - len(listed), 0) if listed else 0,
        used=_used(one, now, who.zone),
        why=_why(one, now, who.zone),
        request=request or "",
        carrier_href=carrier,
    )


def _tries(attempts: Sequence[Attempt], waits: datetime | None, now: datetime) -> Iterator[ShownTry]:
    following: datetime | None = None
    for attempt in attempts:
        if following is not None:
            then = f"after {_length(following - attempt.at)}"
        else:
            then = "" if waits is None else f"in {_length(waits - now)}" if waits > now else "due"
        following = attempt.at
        known = str(attempt.http_status) if attempt.http_status is not None else None
        yield ShownTry(
            at=attempt.at.timestamp(),
            delivered=attempt.outcome == "delivered",
            result=known or labels.OUTCOMES.get(attempt.outcome, attempt.outcome),
            answer=attempt.answer or attempt.error or "",
            address=attempt.address or "",
            took=formats.lasting(round(attempt.latency_ms / 1000, 1)),
            then=then,
        )


def _used(one: Delivery, now: datetime, zone: tzinfo | None) -> str:
    if one.attempt_count == 0:
        return "none yet" if one.finished_at is None else "none"
    used = f"{min(one.tries, labels.TRIES)} of {labels.TRIES} used"
    return f"{used}, next at {at_text(one.next_run_at, now, zone)}" if one.status is JobStatus.PENDING else used


def _why(one: Delivery, now: datetime, zone: tzinfo | None) -> str:
    if one.status is JobStatus.PENDING:
        return labels.held_text(one.reason, one.next_run_at, now=now, zone=zone)
    return "" if one.reason is None else f"{labels.REASONS[one.reason]}."


def _length(length: timedelta) -> str:
    seconds = max(length.total_seconds(), 1.0)
    return formats.ago(0, seconds).removesuffix(" ago")


def _step(one: Delivery, who: Viewer, step: str) -> str:
    return of_tenant(f"/deliveries/{one.job_id}/{step}", who, one.tenant_id)
