"""Subscriptions in words: what one is called, how it stands, and its end as people see it, the last full day.

A term ends at an instant; in the tenant's zone, people see the last day that is paid for from its first minute to its
last, everywhere alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from appliance.subscriptions.lifecycle import Mark, Status, Subscription, SubscriptionType, instant_of

SOON = timedelta(days=30)
"""From when on the end of a term is worth a colour: from here on it can be renewed."""
TYPES = {
    SubscriptionType.MAIN: "Main",
    SubscriptionType.ADDON: "Add-on",
    SubscriptionType.TRIAL: "Trial",
    SubscriptionType.TEMPORARY: "Temporary",
}
_STATES = {
    Status.TRIAL: ("Trial", "info"),
    Status.ACTIVE: ("Active", "ok"),
    Status.GRACE: ("In grace", "high"),
    Status.SUSPENDED: ("Suspended", "crit"),
    Status.EXPIRED: ("Expired", "crit"),
}


@dataclass(frozen=True, slots=True)
class SubscriptionLabel:
    """A subscription in a list."""

    row: Subscription
    title: str
    kind: str
    state: str
    colour: str
    """Of the state's badge and of its end."""
    last_day: date
    end: str
    """How far away the end is, and what comes then."""

    @property
    def share(self) -> float:
        """Seats in use, in percent of all."""
        return 100 * self.row.active_device_count / self.row.device_limit

    @property
    def is_addon(self) -> bool:
        """Whether it hangs on another one."""
        return self.row.parent_subscription_id is not None


def lines(
    subscriptions: Iterable[Subscription], now: datetime, zone: ZoneInfo, grace: timedelta
) -> list[SubscriptionLabel]:
    """One tenant's subscriptions, as they are worth ``now``, add-ons behind what they hang on."""
    rows = list(subscriptions)
    leaders = [row for row in rows if row.parent_subscription_id is None]
    ordered = [
        row
        for leader in leaders
        for row in (leader, *(one for one in rows if one.parent_subscription_id == leader.subscription_id))
    ]
    return [line(row, now, zone, grace) for row in ordered]


def line(row: Subscription, now: datetime, zone: ZoneInfo, grace: timedelta) -> SubscriptionLabel:
    """One subscription as it is worth ``now``."""
    state, colour = _STATES[row.status]
    if row.hold_reason is not None and row.status is Status.SUSPENDED:
        state = "On hold"
    elif row.status in (Status.ACTIVE, Status.TRIAL) and row.term_end - now <= SOON:
        state, colour = "Ends soon", "medium"
    return SubscriptionLabel(
        row,
        subscription_title(row),
        TYPES[row.subscription_type],
        state,
        colour,
        last_day(row.term_end, zone),
        _end(row, now, zone, grace),
    )


def subscription_title(row: Subscription) -> str:
    """Return what every page calls a subscription: its description, or its id where it has none."""
    return row.description or row.subscription_id


def last_day(end: datetime, zone: ZoneInfo) -> date:
    """The last full day of a term."""
    return end.astimezone(zone).date() - timedelta(days=1)


def end_after(day: date, zone: ZoneInfo) -> datetime:
    """When a term ends whose last full day is ``day``. Raises OverflowError on the last day that there is."""
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)


def _end(row: Subscription, now: datetime, zone: ZoneInfo, grace: timedelta) -> str:
    if row.subscription_type is SubscriptionType.ADDON:
        return "ends with the main one"
    if row.status is Status.GRACE:
        return f"in grace until {last_day(instant_of(Mark.GRACE_END, row, grace=grace), zone):%-d %b}"
    days = math.floor((row.term_end - now) / timedelta(days=1))
    if days < 0:
        return f"ended {_days(-days)} ago, messages held"
    return f"{_days(days)} left" if days else "less than a day left"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days:,} days"
