"""Labels of subscriptions: title, kind, status, and the end of the term as its last full day.

A term ends at an instant. Every page shows the last day, in the tenant's time zone, that the term covers completely.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from appliance import local_time
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions.lifecycle import Mark, Subscription, SubscriptionStatus, SubscriptionType, instant_of
from appliance.subscriptions.terms import last_full_day, whole_days_left

TYPES = {
    SubscriptionType.MAIN: "Main",
    SubscriptionType.ADDON: "Add-on",
    SubscriptionType.TRIAL: "Trial",
    SubscriptionType.TEMPORARY: "Temporary",
}
_STATES = {
    SubscriptionStatus.TRIAL: ("Trial", "info"),
    SubscriptionStatus.ACTIVE: ("Active", "ok"),
    SubscriptionStatus.GRACE: ("In grace", "high"),
    SubscriptionStatus.SUSPENDED: ("Suspended", "crit"),
    SubscriptionStatus.EXPIRED: ("Expired", "crit"),
}


@dataclass(frozen=True, slots=True)
class SubscriptionLabel:
    """What a page shows of a subscription."""

    row: Subscription
    title: str
    kind: str
    state: str
    colour: str
    """The colour of the status badge and of the end."""
    last_day: date
    end: str
    """The time left, or what has happened since the end."""

    @property
    def share(self) -> float:
        """Return the seats in use in percent of all seats."""
        return 100 * self.row.active_device_count / self.row.device_limit

    @property
    def is_addon(self) -> bool:
        """Return whether it is an add-on of another subscription."""
        return self.row.parent_subscription_id is not None


def subscription_labels(
    subscriptions: Iterable[Subscription], now: datetime, zone: tzinfo | None, policy: RenewalPolicy
) -> list[SubscriptionLabel]:
    """Return the labels of a tenant's subscriptions at ``now``, each add-on behind its main subscription."""
    rows = list(subscriptions)
    mains = [row for row in rows if row.parent_subscription_id is None]
    ordered = [
        row
        for main in mains
        for row in (main, *(one for one in rows if one.parent_subscription_id == main.subscription_id))
    ]
    return [subscription_label(row, now, zone, policy) for row in ordered]


def subscription_label(
    row: Subscription, now: datetime, zone: tzinfo | None, policy: RenewalPolicy
) -> SubscriptionLabel:
    """Return the label of one subscription at ``now``; the end is coloured from the day on which renewing opens."""
    state, colour = _STATES[row.status]
    if row.hold_reason is not None and row.status is SubscriptionStatus.SUSPENDED:
        state = "On hold"
    elif row.status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIAL) and row.term_end - now <= policy.soon:
        state, colour = "Ends soon", "medium"
    return SubscriptionLabel(
        row,
        subscription_title(row),
        TYPES[row.subscription_type],
        state,
        colour,
        last_full_day(row.term_end, zone),
        _end(row, now, zone, policy.grace),
    )


def subscription_title(row: Subscription) -> str:
    """Return what every page calls a subscription: its description, or its id where it has none."""
    return row.title


def days_left(row: Subscription, now: datetime, zone: tzinfo | None) -> int:
    """Return the whole days until the end of the term, by the calendar of a zone; 0 after it."""
    return whole_days_left(row.term_end, now, zone)


def _end(row: Subscription, now: datetime, zone: tzinfo | None, grace: timedelta) -> str:
    if row.subscription_type is SubscriptionType.ADDON:
        return "ends with the main subscription"
    if row.status is SubscriptionStatus.GRACE:
        return f"in grace until {last_full_day(instant_of(Mark.GRACE_END, row, grace=grace), zone):%-d %b}"
    if row.term_end < now:
        ago = local_time.whole_days(row.term_end.timestamp(), now.timestamp(), zone)
        return f"ended {_days(max(ago, 1))} ago, messages held"
    days = days_left(row, now, zone)
    return f"{_days(days)} left" if days else "less than a day left"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days:,} days"
