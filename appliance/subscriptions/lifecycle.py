"""The status of a subscription at an instant: theory, table, and the functions that read it.

Theory. A subscription passes through phases, each ended by a mark on the time line that follows from its own columns:

    TRIAL      TRIAL  --term end--> EXPIRED
    TEMPORARY  ACTIVE --term end--> EXPIRED
    MAIN       ACTIVE --term end--> GRACE --grace end--> SUSPENDED --90 days later--> EXPIRED
    ADDON      whatever its MAIN is; on its own columns it reads like a MAIN

A phase includes its first instant and not its last: at ``term_end`` itself the term is over. Only a renewal, which
moves the marks, leads back. Two things stand beside the time line:

- A hold (``hold_reason`` set) makes the subscription SUSPENDED at once, whatever its term, until the operator lifts it.
  It stops no clock: what would be EXPIRED is EXPIRED, held or not. An ADDON can be held by itself.
- ``term_start`` plays no part in the status. A renewal ahead of time starts its term at the end of the present one,
  so ``term_start`` may lie ahead of now while paid service is running; a row that exists is served.

The ``status`` column is a record for people and for SQL and is never read here: a worker that writes it late neither
cuts service nor prolongs it. All instants carry a time zone; days are 24 hours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto

LAPSE = timedelta(days=90)
"""How long a subscription stays SUSPENDED after its grace before it is EXPIRED."""


class SubscriptionType(StrEnum):
    """What was bought. The order is the order in which seats are taken."""

    MAIN = "MAIN"
    ADDON = "ADDON"
    TRIAL = "TRIAL"
    TEMPORARY = "TEMPORARY"


class SubscriptionStatus(StrEnum):
    """The status of a subscription. GRACE works as ACTIVE and warns."""

    TRIAL = "TRIAL"
    ACTIVE = "ACTIVE"
    GRACE = "GRACE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One row of ``subscriptions``. ``status`` is what was last recorded, not what holds now: see ``status_at``."""

    subscription_id: str
    tenant_id: str
    subscription_type: SubscriptionType
    parent_subscription_id: str | None
    device_limit: int
    active_device_count: int
    term_start: datetime
    term_end: datetime
    status: SubscriptionStatus
    grace_end: datetime | None = None
    hold_reason: str | None = None
    plan_id: str | None = None
    description: str | None = None

    @property
    def title(self) -> str:
        """Return what people call it: its description, or its id where it has none."""
        return self.description or self.subscription_id


class Mark(Enum):
    """An instant on the time line of a subscription, at which a phase ends."""

    TERM_END = auto()
    GRACE_END = auto()
    LAPSE_END = auto()


@dataclass(frozen=True, slots=True)
class Transition:
    """``before`` holds until ``mark``; from that instant on, ``after``."""

    before: SubscriptionStatus
    mark: Mark
    after: SubscriptionStatus


_PAID = (
    Transition(SubscriptionStatus.ACTIVE, Mark.TERM_END, SubscriptionStatus.GRACE),
    Transition(SubscriptionStatus.GRACE, Mark.GRACE_END, SubscriptionStatus.SUSPENDED),
    Transition(SubscriptionStatus.SUSPENDED, Mark.LAPSE_END, SubscriptionStatus.EXPIRED),
)

TRANSITIONS: Mapping[SubscriptionType, tuple[Transition, ...]] = {
    SubscriptionType.MAIN: _PAID,
    SubscriptionType.ADDON: _PAID,
    SubscriptionType.TRIAL: (Transition(SubscriptionStatus.TRIAL, Mark.TERM_END, SubscriptionStatus.EXPIRED),),
    SubscriptionType.TEMPORARY: (Transition(SubscriptionStatus.ACTIVE, Mark.TERM_END, SubscriptionStatus.EXPIRED),),
}
"""The phases of each type in the order of time; each begins where the one before ends."""

USABLE = frozenset({SubscriptionStatus.TRIAL, SubscriptionStatus.ACTIVE, SubscriptionStatus.GRACE})
"""Statuses in which messages are accepted, alerts work and seats are given."""

_SEAT_ORDER = {kind: place for place, kind in enumerate(SubscriptionType)}


def usable(status: SubscriptionStatus) -> bool:
    """Return whether a subscription of this status serves its devices."""
    return status in USABLE


def status_at(
    subscription: Subscription, now: datetime, *, parent: Subscription | None = None, grace: timedelta
) -> SubscriptionStatus:
    """Return the status of the subscription at ``now``.

    ``parent`` is the MAIN of an ADDON, whose status is the ADDON's; without it the ADDON's own columns are read, which
    every renewal keeps equal to the parent's. ``grace`` is the setting ``grace_days``; it counts where the row
    has no ``grace_end``. Raises ValueError for a parent that is not this subscription's.
    """
    status = status_without_hold(_leader(subscription, parent), now, grace=grace)
    held = subscription.hold_reason is not None or (parent is not None and parent.hold_reason is not None)
    return SubscriptionStatus.SUSPENDED if held and status is not SubscriptionStatus.EXPIRED else status


def status_without_hold(subscription: Subscription, now: datetime, *, grace: timedelta) -> SubscriptionStatus:
    """Return the phase of the table at ``now``, as if there were no hold. Of an ADDON, by its own columns."""
    phases = TRANSITIONS[subscription.subscription_type]
    for transition in phases:
        if now < instant_of(transition.mark, subscription, grace=grace):
            return transition.before
    return phases[-1].after


def changes_at(
    subscription: Subscription, now: datetime, *, parent: Subscription | None = None, grace: timedelta
) -> datetime | None:
    """Return the first instant after ``now`` at which ``status_at`` changes; None if it never does by itself.

    A cache may keep a status until then without asking again, as long as it hears of writes to the row and its parent.
    Raises ValueError as ``status_at`` does.
    """
    leader = _leader(subscription, parent)
    present = status_at(subscription, now, parent=parent, grace=grace)
    for transition in TRANSITIONS[leader.subscription_type]:
        instant = instant_of(transition.mark, leader, grace=grace)
        if instant > now and status_at(subscription, instant, parent=parent, grace=grace) is not present:
            return instant
    return None


def passed(
    subscription: Subscription, now: datetime, *, parent: Subscription | None = None, grace: timedelta
) -> list[tuple[SubscriptionStatus, datetime | None]]:
    """Return the statuses after the recorded one, each with the instant from which it held, up to that of ``now``.

    Whoever records late records them all. What the table does not explain - a hold, a clock that was wrong - has no
    instant. Empty: the record is up to date. Raises ValueError as ``status_at`` does.
    """
    status = status_at(subscription, now, parent=parent, grace=grace)
    leader, steps = _leader(subscription, parent), list[tuple[SubscriptionStatus, datetime | None]]()
    reached = subscription.status
    for transition in TRANSITIONS[leader.subscription_type]:
        instant = instant_of(transition.mark, leader, grace=grace)
        if reached is not status and transition.before is reached and instant <= now:
            reached = transition.after
            steps.append((reached, instant))
    if reached is status:
        return steps
    return [(status, None)]


def instant_of(mark: Mark, subscription: Subscription, *, grace: timedelta) -> datetime:
    """Return when the subscription reaches ``mark``, by its own columns. Grace never ends before the term does."""
    if mark is Mark.TERM_END:
        return subscription.term_end
    grace_end = max(subscription.term_end, subscription.grace_end or subscription.term_end + grace)
    return grace_end if mark is Mark.GRACE_END else grace_end + LAPSE


def preferred(subscriptions: Iterable[Subscription], now: datetime, *, grace: timedelta) -> Subscription | None:
    """Return which of a tenant's subscriptions gives the next seat; None when none can.

    Usable now and with a free seat; MAIN first, then ADDON, TRIAL, TEMPORARY; among equals the oldest by
    ``term_start``, then by id. Hand in all rows of the tenant: an ADDON is judged by its parent among them.
    """
    rows = {subscription.subscription_id: subscription for subscription in subscriptions}

    def offers_a_seat(row: Subscription) -> bool:
        parent = rows.get(row.parent_subscription_id) if row.parent_subscription_id is not None else None
        return row.active_device_count < row.device_limit and usable(status_at(row, now, parent=parent, grace=grace))

    return min(filter(offers_a_seat, rows.values()), key=_seat_rank, default=None)


def _seat_rank(subscription: Subscription) -> tuple[int, datetime, str]:
    return (_SEAT_ORDER[subscription.subscription_type], subscription.term_start, subscription.subscription_id)


def _leader(subscription: Subscription, parent: Subscription | None) -> Subscription:
    """Return the subscription whose time line counts."""
    if parent is None:
        return subscription
    if subscription.parent_subscription_id != parent.subscription_id:
        raise ValueError(f"{parent.subscription_id} is not the parent of {subscription.subscription_id}")
    return parent
