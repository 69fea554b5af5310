"""What a renewal would do: new rows from old ones, or why not. Pure.

Theory. Of the rows of a tenant, a request and an instant follows one of three:

    Plan      the term runs on: the new row, the ADDONs that follow it, and how many devices must stop
    NotOpen   the term runs for so long that renewing it now is more likely a mistake; ``again`` renews all the same
    Refusal   it cannot be, and says what to mend

The new term starts where the present one ends, or now if that has passed, and is so many days of the tenant's calendar
long: no paid day is lost. A hold stays, whoever renews.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo

import msgspec

from appliance import local_time
from appliance.counted import counted
from appliance.errors import ApplianceError, Conflict, Invalid
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions import terms
from appliance.subscriptions.lifecycle import (
    Subscription,
    SubscriptionStatus,
    SubscriptionType,
    status_at,
    status_without_hold,
)
from appliance.subscriptions.store import MAX_TEXT, MOST_TERM, version_of

TERM_DAYS = (30, 90, 180, 365, 730, 1095)
"""The lengths of a term that can be bought, in days."""
MOST_SEATS = 2**31 - 1
MAX_NAMED = 5
"""Device ids that an error names."""
MAX_SHOWN = 64
"""Characters of each: no device has a longer id."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. None keeps what the subscription has."""

    subscription_id: str
    term_days: int
    new_device_limit: int | None = None
    plan_id: str | None = None
    devices_to_deactivate: tuple[str, ...] = ()
    again: bool = False
    """Renew although the same request has just renewed it, or its end is far."""

    @property
    def digest(self) -> bytes:
        """Return what tells this request from another; ``again`` is no part of it."""
        devices = sorted(self.devices_to_deactivate)
        asked = (self.subscription_id, self.term_days, self.new_device_limit, self.plan_id, devices)
        return hashlib.sha256(json.dumps(asked).encode()).digest()  # ASCII, whatever a name is made of

    def spellings(self, row: Subscription) -> list[bytes]:
        """Return the digests of the requests that mean this for ``row``: what it has may be named or left out."""
        limits = (
            {None, row.device_limit} if self.new_device_limit in (None, row.device_limit) else {self.new_device_limit}
        )
        plans = {None, row.plan_id} if self.plan_id in (None, row.plan_id) else {self.plan_id}
        return [replace(self, new_device_limit=limit, plan_id=name).digest for limit in limits for name in plans]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the renewal does."""

    before: Subscription
    after: Subscription
    """With its new status, and the seats in use as they were."""
    addons: tuple[tuple[Subscription, Subscription], ...]
    """The ADDONs, before and after."""
    excess: int
    """How many devices must stop: seats in use beyond the new limit."""
    paid_days_kept: int
    """Whole days of the present term that are still to come."""
    last_day_before: date
    last_day_after: date

    @property
    def start(self) -> datetime:
        """Return when the new term starts."""
        return self.after.term_start


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The term ends so late that renewing is not open yet, and nothing else was to change."""

    row: Subscription
    opens_on: date
    """The day from which it can be renewed, in the tenant's zone."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it cannot be renewed so. ``field`` is the input to blame, if one is; without it the state is."""

    message: str
    field: str | None = None
    needed: int | None = None
    """How many devices must be named, where that is what is wrong."""

    def error(self) -> ApplianceError:
        """Return it as the error that pages and API answer."""
        return Conflict(self.message) if self.field is None else Invalid(self.message, self.field)


def plan(
    rows: Sequence[Subscription], row: Subscription, request: Request, now: datetime, zone: tzinfo | None,
    *, policy: RenewalPolicy,
) -> Plan | NotOpen | Refusal:  # fmt: skip
    """Return what becomes of ``row``, one of all ``rows`` of its tenant, when it is renewed at ``now``.

    ``zone``: the tenant's, in which days are counted. Which devices are named is checked by :func:`devices_refused`.
    """
    fault = request_refused(request) or _type_refused(rows, row) or _seats_refused(row, request, policy)
    if fault is not None:
        return fault
    opens = terms.extended(row.term_end, -policy.opens_days, zone)
    if not request.again and now < opens and _changes_nothing(row, request) and _runs(row, now, policy):
        return NotOpen(row, local_time.wall_clock(opens.timestamp(), zone).date())
    return _renewed(rows, row, request, now, zone, policy)


def request_refused(request: Request) -> Refusal | None:
    """Return what is wrong with a request, whatever it is for."""
    if request.term_days not in TERM_DAYS:
        choices = ", ".join(map(str, TERM_DAYS[:-1]))
        return Refusal(f"A term has {choices} or {TERM_DAYS[-1]} days.", "term_days")
    if request.new_device_limit is not None and not 1 <= request.new_device_limit <= MOST_SEATS:
        return Refusal("A subscription has at least one seat and at most 2,147,483,647.", "new_device_limit")
    plan_id = request.plan_id
    if plan_id is not None and not (0 < len(plan_id) <= MAX_TEXT and plan_id.isprintable()):
        return Refusal(f"A plan has a name of 1 to {MAX_TEXT} characters, all of which can be shown.", "plan_id")
    return None


def devices_refused(plan: Plan, named: Sequence[str], active: Collection[str]) -> Refusal | None:
    """Return why these devices are not the ones to stop; ``active``: those of them that have one of its seats."""
    field, row = "devices_to_deactivate", plan.before
    if not plan.excess:
        if not named:
            return None
        limit = counted(plan.after.device_limit, "seat")
        seats = f"{row.active_device_count:,} of {limit} {'is' if row.active_device_count == 1 else 'are'} in use"
        return Refusal(f"No device needs to stop: {seats}. Leave the devices out.", field)
    needed = f"{plan.excess:,} {'device' if plan.excess == 1 else 'different devices'} of {row.subscription_id}"
    in_use = counted(row.active_device_count, "is active", "are active")
    why = f"{in_use}, and {counted(plan.after.device_limit, 'seat was', 'seats were')} asked for"
    different = set(named)
    if len(different) != len(named):
        return Refusal(f"Name exactly {needed}: {why}. A device was named twice.", field, plan.excess)
    wrong = sorted(different.difference(active))
    if wrong:
        some = ", ".join(map(_shown, wrong[:MAX_NAMED])) + (", ..." if len(wrong) > MAX_NAMED else "")
        return Refusal(f"Name exactly {needed}: {why}. Not among its active devices: {some}.", field, plan.excess)
    if len(named) != plan.excess:
        told = f"{len(named):,} {'was' if len(named) == 1 else 'were'} named"
        return Refusal(f"Name exactly {needed}: {why}, and {told}.", field, plan.excess)
    return None


def _shown(device_id: str) -> str:
    return repr(device_id if len(device_id) <= MAX_SHOWN else f"{device_id[:MAX_SHOWN]}...")


def version(plan: Plan, request: Request) -> str:
    """Return what a person has seen in a preview: another version shows the new preview instead of acting."""
    family = [(row.subscription_id, version_of(row), row.term_start) for row in (plan.before, *_befores(plan))]
    in_use = plan.before.active_device_count if plan.excess else None
    days = (plan.last_day_before, plan.last_day_after)  # a term that has ended begins anew each day
    seen = (family, plan.before.subscription_type, request.digest.hex(), request.again, plan.excess, in_use, days)
    return hashlib.sha256(_encode(seen)).hexdigest()[:16]


def _befores(plan: Plan) -> list[Subscription]:
    return [before for before, _ in plan.addons]


def _type_refused(rows: Sequence[Subscription], row: Subscription) -> Refusal | None:
    if row.subscription_type is SubscriptionType.ADDON:
        return Refusal(f"{row.subscription_id} is an add-on; it renews with {row.parent_subscription_id}.")
    main = next((one for one in rows if one.subscription_type is SubscriptionType.MAIN), None)
    if row.subscription_type is SubscriptionType.TRIAL and main is not None:
        return Refusal(
            f"A renewed trial becomes the main subscription, and there is one already: {main.subscription_id}. "
            "Renew that instead."
        )
    return None


def _seats_refused(row: Subscription, request: Request, policy: RenewalPolicy) -> Refusal | None:
    """Return why the plan does not allow the seats. What an operator has sold beyond a plan is kept as it is."""
    if not policy.plans:
        return None
    choices = ", ".join(f"{name} ({most:,})" for name, most in sorted(policy.plans.items(), key=lambda plan: plan[1]))
    if request.plan_id not in (None, row.plan_id) and request.plan_id not in policy.plans:
        return Refusal(f"There is no plan {request.plan_id!r}. The plans and their seats: {choices}.", "plan_id")
    seats, name = request.new_device_limit or row.device_limit, request.plan_id or row.plan_id
    if _changes_nothing(row, request):
        return None
    if name is None or name not in policy.plans:
        if seats <= row.device_limit:
            return None
        return Refusal(f"More seats need a plan; the plans and their seats: {choices}.", "plan_id")
    most = policy.plans[name]
    if seats > most:
        return Refusal(
            f"The plan {name!r} has at most {counted(most, 'seat')}. The plans: {choices}.", "new_device_limit"
        )
    return None


def _changes_nothing(row: Subscription, request: Request) -> bool:
    """Return whether limit and plan stay."""
    return request.new_device_limit in (None, row.device_limit) and request.plan_id in (None, row.plan_id)


def _runs(row: Subscription, now: datetime, policy: RenewalPolicy) -> bool:
    """Return whether its term is paid for and runs, held or not."""
    return status_without_hold(row, now, grace=policy.grace) is SubscriptionStatus.ACTIVE


def _renewed(
    rows: Sequence[Subscription],
    row: Subscription,
    request: Request,
    now: datetime,
    zone: tzinfo | None,
    policy: RenewalPolicy,
) -> Plan | Refusal:
    start = max(now, row.term_end)
    try:
        end = terms.extended(start, request.term_days, zone)
    except OverflowError:
        end = None
    if end is None or end > now + MOST_TERM:
        return Refusal(f"The term would end more than {MOST_TERM.days:,} days from now.")
    trial = row.subscription_type is SubscriptionType.TRIAL
    after = replace(
        row,
        subscription_type=SubscriptionType.MAIN if trial else row.subscription_type,
        device_limit=request.new_device_limit or row.device_limit,
        plan_id=row.plan_id if request.plan_id is None else request.plan_id,
        term_start=start,
        term_end=end,
        grace_end=None,
    )
    after = replace(after, status=status_at(after, now, grace=policy.grace))
    return Plan(
        row,
        after,
        tuple(_following(rows, after, now, policy)),
        excess=max(0, row.active_device_count - after.device_limit),
        paid_days_kept=terms.whole_days_left(row.term_end, now, zone),
        last_day_before=terms.last_full_day(row.term_end, zone),
        last_day_after=terms.last_full_day(end, zone),
    )


def _following(
    rows: Sequence[Subscription], after: Subscription, now: datetime, policy: RenewalPolicy
) -> list[tuple[Subscription, Subscription]]:
    """Return the ADDONs of ``after``, before and after: with its term, on their own seats."""
    pairs = []
    for row in rows:
        if row.parent_subscription_id == after.subscription_id:
            addon = replace(row, term_start=after.term_start, term_end=after.term_end, grace_end=None)
            pairs.append((row, replace(addon, status=status_at(addon, now, parent=after, grace=policy.grace))))
    return pairs
