"""What becomes of a job that is due: theory, table, and the function that reads it. Pure.

Theory. A job is decided on when it is due, and again whenever what held it may have ended. Each event has its row of
steps; the first step that says something decides, and where none does the notice is sent. The order is the same
everywhere: is it still asked for, has it been overtaken, may anybody be told now (inhibition, maintenance, silence,
quiet hours), and only then how (delay, throttle, burst).

What was delivered gets its end: ACKNOWLEDGED and CLOSED follow an OPEN that arrived or may have arrived, whatever holds
notices back meanwhile, quiet hours excepted, and though the route is disabled by now. An OPEN that reached somebody
goes on although its alert has closed: the receiver may know of it. One that reached nobody is skipped with what would
have followed, or told in a summary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.delivery.outbox.job import JobEvent, Reason, Receipt
from appliance.delivery.outbox.quiet_hours import quiet_until
from appliance.delivery.routes.route import QuietHours
from appliance.severity import Severity

MINUTE = 60.0
"""Seconds in which a burst is counted; it begins with the minute of service time."""
INHIBITED_SECONDS = 900.0
"""Seconds after which an inhibited notice is looked at although nobody said that its alert moved."""
SHORTEST_HOLD = 1.0
"""Seconds: an end in the past, as while the clock is in doubt, would be decided on without a pause."""

HELD = frozenset(
    {Reason.MAINTENANCE, Reason.SILENCED, Reason.INHIBITED, Reason.QUIET_HOURS, Reason.DELAYED, Reason.THROTTLED}
)
"""Why a notice is held that ends when its alert moves; the reason of its end, too, when the alert closes meanwhile."""
REACHED = frozenset({Receipt.REFUSED, Receipt.POSSIBLE})
"""Receipts of a job that reached somebody and is not finished."""
ARRIVED = frozenset({Receipt.POSSIBLE, Receipt.CONFIRMED})
"""Receipts of which the receiver may know."""


class Summary(StrEnum):
    """What several jobs of a route are told in one notice for."""

    ENDED = "ended"
    """Alerts that closed before anybody was told: past ones of a backlog, and those of a time without a way out."""
    BURST = "burst"
    """Alerts beyond the burst of the route in a minute."""
    RESTORED = "restored"
    """What was held after a restore, until an operator confirmed that the old machine is off."""


@dataclass(frozen=True, slots=True)
class Send:
    """The notice goes out now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """It waits until a service time, in seconds since 1970."""

    until: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Skip:
    """It is never sent."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Merge:
    """It is told with others of its route in one notice."""

    summary: Summary


Decision = Send | Hold | Skip | Merge


@dataclass(frozen=True, slots=True)
class RouteTerms:
    """How the route of a job delivers."""

    on: bool
    """Whether it is there and enabled."""
    receiver_on: bool
    """Whether the integration is there and enabled."""
    may_merge: bool
    """Whether the type of integration can tell several alerts in one notice: it keeps no incident of each."""
    reminds: bool
    delay_seconds: int
    throttle_seconds: int
    burst: int
    quiet: QuietHours | None


@dataclass(frozen=True, slots=True)
class Case:
    """What a decision needs to know of a job. Times are seconds since 1970."""

    event: JobEvent
    reason: Reason | None
    """Why it was held until now."""
    receipt: Receipt
    created_at: float
    waited: bool
    """Whether a try of it, or the breaker, has found no way out."""
    carrier: bool
    """Whether it tells other jobs, too."""
    # its alert
    status: str
    severity: Severity
    past: bool
    due_at: float
    superseded: bool
    """Whether it closed because a later alert took its place."""
    inhibited: bool
    """Whether another alert stands for it, or did when it closed."""
    cause_open: bool
    silenced_until: float | None
    maintained_until: float | None
    # its route, and what that has told
    route: RouteTerms
    matches: bool
    """Whether the route takes the alert as both are now."""
    told: bool | None
    """Whether the OPEN of this alert and route has arrived, or may have; None: the route takes no OPEN of it."""
    told_in_summary: bool
    """Whether that OPEN was told with others in one notice."""
    last_told: float | None
    """When another OPEN of the same fingerprint and route was sent, within the throttle."""
    told_in_minute: int
    """Notices of the route in this minute."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Service time, and the one by which things end, which stands still while the clock is in doubt."""

    now: float
    settled: float


Step = Callable[[Case, Moment], Decision | None]


def decide(case: Case, at: Moment) -> Decision:
    """Return what becomes of a job that is due."""
    for step in STEPS[case.event]:
        decision = step(case, at)
        if isinstance(decision, Hold):
            return Hold(max(decision.until, at.now + SHORTEST_HOLD), decision.reason)
        if decision is not None:
            return decision
    return Send()


def _off(case: Case, _: Moment) -> Decision | None:
    if not case.route.receiver_on:
        return Skip(Reason.INTEGRATION_OFF)
    return None if case.route.on else Skip(Reason.ROUTE_OFF)


def _end_off(case: Case, at: Moment) -> Decision | None:
    """What was told gets its end from a route that is off, too, as long as the receiver can be told."""
    return None if case.told and case.route.receiver_on else _off(case, at)


def _by_hand(case: Case, _: Moment) -> Decision | None:
    """A person asked for it, or it stands for others that are decided: it is sent."""
    return Send() if case.reason is Reason.BY_HAND or case.carrier else None


def _superseded(case: Case, _: Moment) -> Decision | None:
    """The alert that took its place is told. What keeps an incident of each alert has the old one ended."""
    return Skip(Reason.SUPERSEDED) if case.superseded and case.route.may_merge else None


def _no_match(case: Case, _: Moment) -> Decision | None:
    return None if case.matches or case.receipt is not Receipt.NONE else Skip(Reason.NO_MATCH)


def _not_reminded(case: Case, _: Moment) -> Decision | None:
    return None if case.route.reminds else Skip(Reason.NO_MATCH)


def _closed_after_a_try(case: Case, _: Moment) -> Decision | None:
    """An OPEN that reached somebody goes on: without it, its CLOSED would end what the receiver never opened."""
    return Send() if case.status == "CLOSED" and case.receipt in REACHED else None


def _closed_untold(case: Case, at: Moment) -> Decision | None:
    """An OPEN of a closed alert that reached nobody ends; in a summary, unless something held it back."""
    if case.status != "CLOSED":
        return None
    held = _held_back(case, at)
    if held is not None:
        return Skip(held)
    if not case.route.may_merge:
        return Skip(Reason.OVERTAKEN)
    if case.waited:
        return Merge(Summary.ENDED)
    if case.reason is Reason.UNCONFIRMED:
        return Merge(Summary.RESTORED)
    if case.route.delay_seconds > 0:
        return Skip(Reason.DELAYED)
    return Merge(Summary.ENDED) if case.past else Skip(Reason.OVERTAKEN)


def _held_back(case: Case, at: Moment) -> Reason | None:
    """Return what keeps the notice back now, or has until its alert closed."""
    if case.inhibited:
        return Reason.INHIBITED
    if case.maintained_until is not None:
        return Reason.MAINTENANCE
    if _silenced(case, at):
        return Reason.SILENCED
    if _quiet(case, at) is not None:
        return Reason.QUIET_HOURS
    return case.reason if case.reason in HELD else None


def _closed(case: Case, _: Moment) -> Decision | None:
    return Skip(Reason.OVERTAKEN) if case.status == "CLOSED" else None


def _not_open(case: Case, _: Moment) -> Decision | None:
    return None if case.status == "OPEN" else Skip(Reason.OVERTAKEN)


def _not_acknowledged(case: Case, _: Moment) -> Decision | None:
    return None if case.status == "ACKNOWLEDGED" else Skip(Reason.OVERTAKEN)


def _not_told(case: Case, _: Moment) -> Decision | None:
    return Skip(Reason.NOT_TOLD) if case.told is False else None


def _inhibited(case: Case, at: Moment) -> Decision | None:
    return Hold(at.now + INHIBITED_SECONDS, Reason.INHIBITED) if case.cause_open else None


def _maintenance(case: Case, _: Moment) -> Decision | None:
    return None if case.maintained_until is None else Hold(case.maintained_until, Reason.MAINTENANCE)


def _silence(case: Case, at: Moment) -> Decision | None:
    return Hold(case.silenced_until or 0.0, Reason.SILENCED) if _silenced(case, at) else None


def _ended_by_silence(case: Case, at: Moment) -> Decision | None:
    """A silence ends reminders, and with a window what would be stale when it is over: a step that stands alone."""
    if case.maintained_until is not None:
        return Skip(Reason.MAINTENANCE)
    return Skip(Reason.SILENCED) if _silenced(case, at) else None


def _alone_and_held_back(case: Case, at: Moment) -> Decision | None:
    """An ACKNOWLEDGED or CLOSED of a route that takes no OPEN is news like an OPEN, and stale afterwards."""
    if case.told is not None:
        return None
    return Skip(Reason.INHIBITED) if case.inhibited else _ended_by_silence(case, at)


def _quiet_hours(case: Case, at: Moment) -> Decision | None:
    until = _quiet(case, at)
    return None if until is None else Hold(until, Reason.QUIET_HOURS)


def _acknowledged(case: Case, _: Moment) -> Decision | None:
    """Somebody is on it: that ends whatever a notice waits for, but not one that found no way out."""
    if case.status != "ACKNOWLEDGED" or case.receipt is not Receipt.NONE or case.waited:
        return None
    waits = case.route.delay_seconds > 0 or case.reason in HELD | {Reason.MERGING, Reason.UNCONFIRMED}
    return Skip(Reason.OVERTAKEN) if waits else None


def _delay(case: Case, at: Moment) -> Decision | None:
    until = max(case.due_at, case.created_at + case.route.delay_seconds)
    return Hold(until, Reason.DELAYED) if at.now < until and case.receipt is Receipt.NONE else None


def _after_restore(case: Case, _: Moment) -> Decision | None:
    """What was held after a restore is told with the others of its route."""
    held = case.reason is Reason.UNCONFIRMED and case.receipt is Receipt.NONE
    return Merge(Summary.RESTORED) if held and case.route.may_merge else None


def _throttle(case: Case, at: Moment) -> Decision | None:
    if case.last_told is None or case.receipt is not Receipt.NONE:
        return None
    until = case.last_told + case.route.throttle_seconds
    return Hold(until, Reason.THROTTLED) if at.now < until else None


def _end_of_untold(case: Case, _: Moment) -> Decision | None:
    """A CLOSED that found no way out, or that stands alone for a past alert, is told with the others."""
    if not case.route.may_merge or case.receipt is not Receipt.NONE:
        return None
    return Merge(Summary.ENDED) if case.waited or (case.told is None and case.past) else None


def _burst(case: Case, at: Moment) -> Decision | None:
    if not case.route.may_merge or case.route.burst == 0 or case.waited or case.receipt is not Receipt.NONE:
        return None
    if case.reason is Reason.MERGING:
        return Merge(Summary.BURST)
    end_of_summary = case.told_in_summary and case.event is JobEvent.CLOSED
    if end_of_summary or case.told_in_minute >= case.route.burst:
        return Hold((at.now // MINUTE + 1) * MINUTE, Reason.MERGING)
    return None


def _silenced(case: Case, at: Moment) -> bool:
    return case.silenced_until is not None and case.silenced_until > at.settled


def _quiet(case: Case, at: Moment) -> float | None:
    quiet = case.route.quiet
    if quiet is None or (quiet.spares_critical and case.severity is Severity.CRITICAL):
        return None
    return quiet_until(quiet, at.now)


STEPS: Mapping[JobEvent, Sequence[Step]] = {
    JobEvent.OPEN: (
        _off,
        _by_hand,
        _superseded,
        _no_match,
        _closed_after_a_try,
        _closed_untold,
        _inhibited,
        _maintenance,
        _silence,
        _quiet_hours,
        _acknowledged,
        _delay,
        _after_restore,
        _throttle,
        _burst,
    ),
    JobEvent.REMINDER: (
        _off,
        _by_hand,
        _no_match,
        _not_reminded,
        _not_open,
        _inhibited,
        _maintenance,
        _ended_by_silence,
        _quiet_hours,
        _burst,
    ),
    JobEvent.ACKNOWLEDGED: (
        _end_off,
        _by_hand,
        _not_told,
        _not_acknowledged,
        _alone_and_held_back,
        _quiet_hours,
        _after_restore,
        _burst,
    ),
    JobEvent.CLOSED: (
        _end_off,
        _by_hand,
        _superseded,
        _not_told,
        _alone_and_held_back,
        _quiet_hours,
        _after_restore,
        _end_of_untold,
        _burst,
    ),
}
"""The steps of each event, in their order."""
