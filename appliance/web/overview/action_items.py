"""What needs somebody's attention, worst first: a pure function of the figures, so that page and live update agree."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import quote, urlencode

from appliance.devices.fleet import SiteCounts
from appliance.subscriptions.lifecycle import Status, Subscription, SubscriptionType, status_at
from appliance.web.devices.labels import NONE
from appliance.web.overview.query import OverviewData
from appliance.web.page import formats
from appliance.web.subscriptions.labels import subscription_title

SHOWN = 5
"""Lines that are there at once; the others open below them."""
SOON = 30
"""Days before its end from which a subscription is mentioned."""
CALLED = {"crit": "Critical", "high": "High", "medium": "Medium"}


@dataclass(frozen=True, slots=True)
class ActionItem:
    """One line: ``before``, the linked ``what``, ``after``; and the one thing to do about it."""

    severity: str
    before: str
    what: str
    after: str
    href: str
    action: str
    at: float | None = None
    """Since when, or from when on, in seconds since 1970-01-01 UTC."""
    when: str = ""
    """The same in words."""

    @property
    def called(self) -> str:
        """Its severity in a word."""
        return CALLED[self.severity]


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Where lines lead: operators say the tenant in the address."""

    operator: bool
    tenant: str | None
    """Whose page it is; None: an operator's of all tenants."""

    def at(self, path: str, **wanted: str) -> str:
        """A page that shows what this one shows, with a filter."""
        query = urlencode({**wanted, **(self._tenant(self.tenant) if self.tenant else {})})
        return f"{path}?{query}" if query else path

    def here(self, path: str, site_id: str | None) -> str:
        """The same of one site, an empty one standing for none; None: of all."""
        return self.at(path) if site_id is None else self.at(path, site=site_id or NONE)

    def devices(self, tenant_id: str, **wanted: str) -> str:
        """The list of devices with a filter."""
        return f"/devices?{urlencode({**wanted, **self._tenant(tenant_id)})}"

    def site(self, site: SiteCounts, **wanted: str) -> str:
        """The list of the devices at a site, or without one."""
        return self.devices(site.tenant_id, **wanted, site=site.site_id or NONE)

    def subscription(self, row: Subscription) -> str:
        """Where a subscription is looked after: operators do it on the tenant's page."""
        if self.operator:
            return f"/tenants/{quote(row.tenant_id)}"
        return self.devices(row.tenant_id, subscription=row.subscription_id)

    def _tenant(self, tenant_id: str) -> dict[str, str]:
        return {"tenant": tenant_id} if self.operator else {}


def action_items(
    figures: OverviewData, now: float, zone: tzinfo | None, places: PageLinks, *, grace: timedelta
) -> list[ActionItem]:
    """Everything that somebody should look at, worst first."""
    items = [
        *_subscriptions(figures, now, zone, places, grace),
        *_sites(figures, places),
        *_quarantine(figures, now, places),
    ]
    order = list(CALLED)
    return sorted(items, key=lambda item: order.index(item.severity))


def status_of(row: Subscription, figures: OverviewData, now: float, *, grace: timedelta) -> Status:
    """Return the status of a subscription at ``now``; that of an add-on follows from its main subscription."""
    parents = {(one.tenant_id, one.subscription_id): one for one in figures.subscriptions}
    parent = parents.get((row.tenant_id, row.parent_subscription_id or ""))
    return status_at(row, datetime.fromtimestamp(now, UTC), parent=parent, grace=grace)


def days_left(row: Subscription, now: float) -> int:
    """Whole days until its end, never below none."""
    return max(0, math.floor((row.term_end.timestamp() - now) / 86400))


def days(number: int) -> str:
    """``1 day``, ``12 days``."""
    return f"{number:,} day{'s' if number != 1 else ''}"


def _subscriptions(
    figures: OverviewData, now: float, zone: tzinfo | None, places: PageLinks, grace: timedelta
) -> Iterator[ActionItem]:
    action = "Open tenant" if places.operator else "Show devices"
    for row in figures.subscriptions:
        if row.subscription_type is SubscriptionType.ADDON:
            continue  # it stands and falls with the one that it hangs on
        if row.term_end.timestamp() <= now and not row.active_device_count:
            continue  # nobody misses it
        status = status_of(row, figures, now, grace=grace)
        end, href = row.term_end.timestamp(), places.subscription(row)
        what = subscription_title(row)
        if status in (Status.SUSPENDED, Status.EXPIRED):
            word = "suspended" if status is Status.SUSPENDED else "over"
            after = f" is {word}: what its devices send is held."
            yield ActionItem("crit", "Subscription ", what, after, href, action, end, _since(end, zone))
        elif status is Status.GRACE:
            after = " has ended and runs on in its grace period."
            yield ActionItem("high", "Subscription ", what, after, href, action, end, _since(end, zone))
        elif days_left(row, now) < SOON:
            after = f" ends in {days(days_left(row, now))}, on {formats.day(end, zone)}."
            yield ActionItem(
                "medium", "Subscription ", what, after, href, action, end, f"{formats.local(end, zone):%-d %b}"
            )
        elif row.active_device_count >= row.device_limit:
            after = f" has no free seat: all {row.device_limit:,} are taken."
            yield ActionItem("medium", "Subscription ", what, after, href, action)


def _since(end: float, zone: tzinfo | None) -> str:
    return f"since {formats.local(end, zone):%-d %b}"


def _sites(figures: OverviewData, places: PageLinks) -> Iterator[ActionItem]:
    for site in sorted(figures.sites, key=lambda one: (-one.offline, one.tenant_id, one.name)):
        if site.offline:
            what = f"{site.offline:,} of {site.active:,} device{'s' if site.active != 1 else ''}"
            after = f"{_where(site, places)} {'is' if site.offline == 1 else 'are'} offline."
            yield ActionItem("high", "", what, after, places.site(site, presence="OFFLINE"), "Show devices")
    for site in figures.sites:
        if site.refused:
            what = f"{site.refused:,} device{'s' if site.refused != 1 else ''}"
            after = f"{_where(site, places)} {'sends' if site.refused == 1 else 'send'} what is not accepted."
            yield ActionItem("high", "", what, after, places.site(site, presence="REFUSED"), "Show devices")
        if site.waiting:
            what = f"{site.waiting:,} device{'s' if site.waiting != 1 else ''}"
            after = f"{_where(site, places)} {'waits' if site.waiting == 1 else 'wait'} for approval."
            yield ActionItem("medium", "", what, after, places.site(site, status="PENDING"), "Review")


def _quarantine(figures: OverviewData, now: float, places: PageLinks) -> Iterator[ActionItem]:
    if figures.held:
        what = f"{figures.held:,} message{'s' if figures.held != 1 else ''}"
        after = f" {'is' if figures.held == 1 else 'are'} held in quarantine until somebody decides."
        since = figures.held_since
        when = "" if since is None else formats.ago(since, now)
        yield ActionItem("medium", "", what, after, places.at("/quarantine"), "Review", since, when)


def _where(site: SiteCounts, places: PageLinks) -> str:
    of = "" if places.tenant else f" of {site.tenant_id}"
    return f"{of} at {site.name}" if site.site_id else f"{of} without a site"
