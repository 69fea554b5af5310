"""What every page of a tenant says once the term of a subscription has ended, or while an operator holds it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from appliance.subscriptions.lifecycle import (
    Mark,
    Subscription,
    SubscriptionStatus,
    SubscriptionType,
    instant_of,
    usable,
)
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.terms import last_day_text, whole_days_left

HELD = "Messages of its devices are held for replay, and their alerts do not work"


@dataclass(frozen=True, slots=True)
class SubscriptionNotice:
    """What is to be said of one subscription."""

    subscription_id: str
    title: str
    text: str
    stopped: bool
    """Whether its devices are not served; else it is in its grace."""
    held: bool
    """Whether an operator holds it: a renewal does not help."""


def concerning(rows: Sequence[Subscription], settled: datetime, grace: timedelta) -> Subscription | None:
    """Return the subscription that people must know of first, as it is at ``settled``; None while all is well.

    Those that do not serve come first, with the most devices. One that ended without devices counts only where no
    other serves: a trial that was followed by a main subscription is history.
    """
    present = as_of(rows, settled, grace)
    serves = any(usable(row.status) for row in present)
    found = [
        row
        for row in present
        if (row.subscription_type is not SubscriptionType.ADDON or row.hold_reason is not None)
        and row.status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIAL)
        and (row.active_device_count or not serves or row.status is SubscriptionStatus.GRACE)
    ]
    return min(found, key=lambda row: (usable(row.status), -row.active_device_count, row.term_end), default=None)


def notice_of(row: Subscription, settled: datetime, zone: tzinfo | None, grace: timedelta) -> SubscriptionNotice:
    """Return what is said of a subscription that is not served, or in its grace; ``zone``: that of its tenant."""
    held = row.hold_reason is not None and row.status is SubscriptionStatus.SUSPENDED
    last_day = last_day_text(row.term_end, zone)
    if held:
        title, text = f"Subscription {row.title} is on hold: {(row.hold_reason or '').rstrip('.')}.", f"{HELD}."
    elif row.status is SubscriptionStatus.GRACE:
        until = instant_of(Mark.GRACE_END, row, grace=grace)
        left = whole_days_left(until, settled, zone)
        more = "less than a day" if not left else "1 more day" if left == 1 else f"{left:,} more days"
        title = f"The last full day of subscription {row.title} was {last_day}."
        text = f"Its devices work for {more}, until {last_day_text(until, zone)}."
    else:
        state = "is suspended" if row.status is SubscriptionStatus.SUSPENDED else "has expired"
        title = f"Subscription {row.title} {state}: its last full day was {last_day}."
        text = f"{HELD}, until it is renewed."
    return SubscriptionNotice(row.subscription_id, title, text, not usable(row.status), held)
