"""Warnings that the term of a subscription ends: which of them are due, and which are over. Pure.

Theory. A term is warned of at STEPS, so many days of the tenant's calendar before its end, each once: when several were
missed, the nearest only. Every step is an alert of its own; while the term lasts one of them is open at most:

    a nearer step is reached       the alert of the step before ends as superseded, and the new one is told
    the subscription is renewed    the alert ends: the new term has steps of its own
    it is held or EXPIRED          the alert ends: that is what people are told now
    the term is over               the last alert stays, and says what becomes of the devices
    the end is moved away          the alert ends, and a step that lies ahead again is warned of again

An ADDON ends with its MAIN and has no warnings. Who renews knows the new end: steps that had passed by then are left
out. So are the early steps of a term that begins with them, such as a trial of 30 days.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.severity import Severity
from appliance.subscriptions import terms
from appliance.subscriptions.lifecycle import (
    Mark,
    Subscription,
    SubscriptionStatus,
    SubscriptionType,
    instant_of,
)

STEPS: Mapping[int, Severity] = MappingProxyType(
    {
        90: Severity.INFO,
        60: Severity.LOW,
        30: Severity.LOW,
        14: Severity.MEDIUM,
        7: Severity.HIGH,
        1: Severity.CRITICAL,
    }
)
"""Days before the end of a term at which people are warned, and how severe that is."""
HORIZON = timedelta(days=max(STEPS) + 2)
"""How long before its end a term can be warned of at most, whatever the calendar of its zone does."""
EARLY = frozenset({Severity.INFO, Severity.LOW})
"""Severities of steps that are left out where the term begins with them."""
SLACK = timedelta(days=1)
"""How far ahead a step must lie to be warned of again: a clock that is put back by hours makes no second warning."""
CLOSE = timedelta(days=2)
"""Days of the calendar and of 24 hours differ by less, even in a zone that leaves out a day."""
_PREFIX = "subscription"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What warnings of a tenant's subscriptions depend on beside their rows."""

    settled: datetime
    """The instant by which terms are judged."""
    zone: tzinfo | None
    """The tenant's: days before the end are days of its calendar."""
    served: bool
    """Whether the tenant is active: people of a suspended one are not warned."""
    grace: timedelta
    given: Mapping[str, Collection[int]] = field(default_factory=dict)
    """The steps of the present term that were warned of, by subscription."""
    renewed_at: Mapping[str, datetime] = field(default_factory=dict)
    """When the present term was bought, by subscription, where that was a renewal."""
    kept: Mapping[str, tuple[str, Mapping[str, Any]] | None] = field(default_factory=dict)
    """Summary and details of the alerts about these conditions, by fingerprint; None where a person has closed it."""


@dataclass(slots=True)
class Changes:
    """What is to be written of a tenant."""

    given: list[tuple[Subscription, int]] = field(default_factory=list)
    """Steps that are warned of now."""
    forgotten: list[tuple[Subscription, list[int]]] = field(default_factory=list)
    """Steps that lie ahead again."""
    raised: list[Condition] = field(default_factory=list)
    """Alerts that open, or whose words change."""
    superseded: list[str] = field(default_factory=list)
    """Fingerprints of alerts whose place one of ``raised`` takes."""
    ended: list[str] = field(default_factory=list)
    """Fingerprints of alerts whose condition is over."""

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.given or self.forgotten or self.raised or self.superseded or self.ended)


def changes(rows: Sequence[Subscription], about: Circumstances) -> Changes:
    """Return what becomes of the warnings of a tenant. ``rows``: all its subscriptions, as of ``about.settled``."""
    found, left = Changes(), dict.fromkeys(about.kept)
    for row in rows:
        own = [one for one in left if one.startswith(f"{_PREFIX}:{row.subscription_id}:")]
        for one in own:
            del left[one]
        _judge(row, own, about, found)
    found.ended += left  # of subscriptions that are gone
    return found


def fingerprint(row: Subscription, days: int) -> str:
    """Return what the alert of a step is about."""
    return f"{_PREFIX}:{row.subscription_id}:{row.term_start.isoformat()}:{days}"


def reached(row: Subscription, settled: datetime, zone: tzinfo | None, renewed_at: datetime | None) -> int | None:
    """Return the nearest step that has passed, None if that is none or one that is left out."""
    days = next((days for days in sorted(STEPS) if not _lies_ahead(row, days, settled, zone)), None)
    if days is None:
        return None
    instant = _instant(row, days, zone)
    known = renewed_at is not None and instant <= renewed_at
    begins_with_it = STEPS[days] in EARLY and abs(instant - row.term_start) < SLACK
    return None if known or begins_with_it else days


def condition(row: Subscription, days: int, zone: tzinfo | None, grace: timedelta) -> Condition:
    """Return what the alert of a step says."""
    details = {
        "subscription_id": row.subscription_id,
        "days": days,
        "term_end": row.term_end.isoformat(),
        "last_full_day": terms.last_full_day(row.term_end, zone).isoformat(),
    }
    kind, summary = AlertType.SUBSCRIPTION_EXPIRING, _summary(row, zone, grace)
    return Condition(row.tenant_id, fingerprint(row, days), kind, STEPS[days], summary, details)


def _judge(row: Subscription, kept: Sequence[str], about: Circumstances, found: Changes) -> None:
    """Add what becomes of the warnings of one subscription, whose alerts are ``kept``."""
    if not _warned_of(row, about):
        found.ended += kept
        return
    given = set(about.given.get(row.subscription_id, ()))
    ahead = [days for days in sorted(given) if _lies_ahead(row, days, about.settled + SLACK, about.zone)]
    if ahead:
        given.difference_update(ahead)
        found.forgotten.append((row, ahead))
    step = reached(row, about.settled, about.zone, about.renewed_at.get(row.subscription_id))
    nearest = min(given, default=None)
    if step is not None and (nearest is None or step < nearest):
        found.given.append((row, step))
        found.raised.append(condition(row, step, about.zone, about.grace))
        earlier = {fingerprint(row, days) for days in STEPS if days > step}
        found.superseded += [one for one in kept if one in earlier]
        found.ended += [one for one in kept if one not in earlier]
        return
    standing = None if nearest is None else fingerprint(row, nearest)
    found.ended += [one for one in kept if one != standing]
    shown = about.kept.get(standing or "")
    if nearest is not None and shown is not None:
        wanted = condition(row, nearest, about.zone, about.grace)
        if shown != (wanted.summary, wanted.details):
            found.raised.append(wanted)


def _warned_of(row: Subscription, about: Circumstances) -> bool:
    return (
        about.served
        and row.subscription_type is not SubscriptionType.ADDON
        and row.hold_reason is None
        and row.status is not SubscriptionStatus.EXPIRED
    )


def _lies_ahead(row: Subscription, days: int, at: datetime, zone: tzinfo | None) -> bool:
    """Return whether a step before the end is not reached at an instant. Where that is close, the calendar decides."""
    beyond = row.term_end - at - timedelta(days=days)
    return beyond > timedelta() if abs(beyond) > CLOSE else _instant(row, days, zone) > at


def _instant(row: Subscription, days: int, zone: tzinfo | None) -> datetime:
    """Return when a step before the end of the term is reached."""
    return terms.extended(row.term_end, -days, zone)


def _summary(row: Subscription, zone: tzinfo | None, grace: timedelta) -> str:
    title, last_day = row.title, terms.last_day_text(row.term_end, zone)
    if row.status is SubscriptionStatus.GRACE:
        until = terms.last_day_text(instant_of(Mark.GRACE_END, row, grace=grace), zone)
        return f"The last full day of subscription {title} was {last_day}: its devices work until {until}"
    if row.status is SubscriptionStatus.SUSPENDED:
        return f"The last full day of subscription {title} was {last_day}: messages of its devices are held"
    return f"The last full day of subscription {title} is {last_day}"
