"""The action items of the Overview, worst first: a pure function, so that page and live update agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import quote, urlencode

from appliance.delivery.outbox.alert_notices import MAX_COUNTED
from appliance.devices.fleet import SiteCounts
from appliance.devices.live.presence import Presence
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.terms import last_day_text, last_full_day
from appliance.web.devices.labels import NONE
from appliance.web.overview.open_alerts import CLASSES, NONE_OPEN, OpenAlerts
from appliance.web.overview.query import OverviewData
from appliance.web.page import formats
from appliance.web.page.away_peers import since_text
from appliance.web.subscriptions.labels import days_left, subscription_title

ALERTS_SHOWN = 5
"""Alerts with an item of their own."""
SEVERITY_LABELS = {"crit": "Critical", "high": "High", "medium": "Medium"}


@dataclass(frozen=True, slots=True)
class ActionItem:
    """One line: ``before``, the linked ``what``, ``after``; and the one ``action`` to take."""

    severity: str
    before: str
    what: str
    after: str
    href: str
    action: str
    at: float | None = None
    """Since or from when it holds, in seconds since 1970-01-01 UTC."""
    when: str = ""
    """The same as text."""

    @property
    def severity_label(self) -> str:
        """Return the label of its severity."""
        return SEVERITY_LABELS[self.severity]


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Addresses that lines link to: those of operators name the tenant."""

    operator: bool
    tenant: str | None
    """The tenant that the page shows; None: all tenants, for operators."""

    def at(self, path: str, **wanted: str) -> str:
        """Return the address of a page for the same tenant, with a filter."""
        query = urlencode({**wanted, **(self._tenant(self.tenant) if self.tenant else {})})
        return f"{path}?{query}" if query else path

    def here(self, path: str, site_id: str | None) -> str:
        """Return the same for one site; empty: devices without a site, None: all sites."""
        return self.at(path) if site_id is None else self.at(path, site=site_id or NONE)

    def never_heard(self, site_id: str | None) -> str:
        """Return the address of the list of devices of which nothing ever came; ``site_id`` as for ``here``."""
        site = {} if site_id is None else {"site": site_id or NONE}
        return self.at("/devices", presence=Presence.NEW.value, **site)

    def devices(self, tenant_id: str, **wanted: str) -> str:
        """Return the address of the list of devices with a filter."""
        return f"/devices?{urlencode({**wanted, **self._tenant(tenant_id)})}"

    def site(self, site: SiteCounts, **wanted: str) -> str:
        """Return the address of the list of the devices at a site, or without one."""
        return self.devices(site.tenant_id, **wanted, site=site.site_id or NONE)

    def subscription(self, row: Subscription) -> str:
        """Return the address of a subscription."""
        query = urlencode(self._tenant(row.tenant_id))
        path = f"/subscriptions/{quote(row.subscription_id)}"
        return f"{path}?{query}" if query else path

    def alerts(self, site_id: str | None) -> str:
        """Return the address of the list of alerts; ``site_id`` as for ``here``."""
        return self.at("/alerts") if site_id is None else self.at("/alerts", site_id=site_id or NONE)

    def alert(self, tenant_id: str, alert_id: int) -> str:
        """Return the address of an alert."""
        query = urlencode(self._tenant(tenant_id))
        return f"/alerts/{alert_id}?{query}" if query else f"/alerts/{alert_id}"

    def _tenant(self, tenant_id: str) -> dict[str, str]:
        return {"tenant": tenant_id} if self.operator else {}


def action_items(
    data: OverviewData,
    now: float,
    zone: tzinfo | None,
    links: PageLinks,
    *,
    policy: RenewalPolicy,
    alerts: OpenAlerts = NONE_OPEN,
) -> list[ActionItem]:
    """Return the action items, worst first."""
    items = [
        *_alerts(alerts, now, links),
        *_peers(data, now, zone, links),  # first of its severity: a whole appliance is more than a site
        *_subscriptions(data, now, links, policy),
        *_sites(data, links),
        *_unrouted(alerts, links),
        *_quarantine(data, now, links),
    ]
    order = list(SEVERITY_LABELS)
    return sorted(items, key=lambda item: order.index(item.severity))


def days(number: int) -> str:
    """``1 day``, ``12 days``."""
    return f"{number:,} day{'s' if number != 1 else ''}"


def _subscriptions(data: OverviewData, now: float, links: PageLinks, policy: RenewalPolicy) -> Iterator[ActionItem]:
    action, moment = "View subscription", datetime.fromtimestamp(now, UTC)
    for row in as_of(data.subscriptions, moment, policy.grace):
        if row.subscription_type is SubscriptionType.ADDON:
            continue  # its parent has an item of its own
        if row.term_end.timestamp() <= now and not row.active_device_count:
            continue  # it has ended and no device depends on it
        end, href, zone = row.term_end.timestamp(), links.subscription(row), data.zones.get(row.tenant_id)
        status, what, last_day = row.status, subscription_title(row), last_day_text(row.term_end, zone)
        if status in (SubscriptionStatus.SUSPENDED, SubscriptionStatus.EXPIRED):
            held = status is SubscriptionStatus.SUSPENDED and row.hold_reason is not None
            state = (
                "is on hold" if held else "is suspended" if status is SubscriptionStatus.SUSPENDED else "has expired"
            )
            after = f" {state}: its devices' messages are held."
            when = "" if held else f"ended {last_full_day(row.term_end, zone):%-d %b}"
            yield ActionItem("crit", "Subscription ", what, after, href, action, None if held else end, when)
        elif status is SubscriptionStatus.GRACE:
            after = " has ended and is in its grace period."
            yield ActionItem(
                "high",
                "Subscription ",
                what,
                after,
                href,
                action,
                end,
                f"ended {last_full_day(row.term_end, zone):%-d %b}",
            )
        elif row.term_end - moment <= policy.soon:
            after = f" ends in {days(days_left(row, moment, zone))}; its last full day is {last_day}."
            yield ActionItem("medium", "Subscription ", what, after, href, action)
        elif row.active_device_count >= row.device_limit:
            after = f" has no free seat: all {row.device_limit:,} are in use."
            yield ActionItem("medium", "Subscription ", what, after, href, action)


def _sites(data: OverviewData, links: PageLinks) -> Iterator[ActionItem]:
    for site in sorted(data.sites, key=lambda one: (-one.offline, one.tenant_id, one.name)):
        if site.offline:
            what = f"{site.offline:,} of {site.active:,} device{'s' if site.active != 1 else ''}"
            after = f"{_where(site, links)} {'is' if site.offline == 1 else 'are'} offline."
            yield ActionItem("high", "", what, after, links.site(site, presence="OFFLINE"), "View devices")
    for site in data.sites:
        if site.refused:
            what = f"{site.refused:,} device{'s' if site.refused != 1 else ''}"
            after = f"{_where(site, links)} {'sends' if site.refused == 1 else 'send'} messages that are refused."
            yield ActionItem("high", "", what, after, links.site(site, presence="REFUSED"), "View devices")
        if site.waiting:
            what = f"{site.waiting:,} device{'s' if site.waiting != 1 else ''}"
            after = f"{_where(site, links)} {'waits' if site.waiting == 1 else 'wait'} for approval."
            yield ActionItem("medium", "", what, after, links.site(site, status="PENDING"), "Review")


def _quarantine(data: OverviewData, now: float, links: PageLinks) -> Iterator[ActionItem]:
    if data.held:
        what = f"{data.held:,} message{'s' if data.held != 1 else ''}"
        after = f" {'is' if data.held == 1 else 'are'} held in quarantine for review."
        since = data.held_since
        when = "" if since is None else formats.ago(since, now)
        yield ActionItem("medium", "", what, after, links.at("/quarantine"), "Review", since, when)


def _alerts(alerts: OpenAlerts, now: float, links: PageLinks) -> Iterator[ActionItem]:
    """Yield the most severe open alerts, and one line for the others; low ones and notes need nobody."""
    urgent = [one for one in alerts.waiting if CLASSES[one.alert.severity] in SEVERITY_LABELS]
    for one in urgent[:ALERTS_SHOWN]:
        alert, began = one.alert, one.alert.started_at.timestamp()
        where = one.device_name or alert.device_id or one.site_name or alert.site_id
        of = "" if links.tenant or not links.operator else f", {alert.tenant_id}"
        yield ActionItem(
            CLASSES[alert.severity],
            "",
            alert.summary,
            f" on {where}{of}" if where else of,
            links.alert(alert.tenant_id, alert.alert_id),
            "View alert",
            began,
            formats.ago(began, now),
        )
    others = urgent[ALERTS_SHOWN:]
    if others:
        what = f"{len(others):,} more alert{'s' if len(others) != 1 else ''}"
        after = f" {'are' if len(others) != 1 else 'is'} open."
        yield ActionItem(CLASSES[others[0].alert.severity], "", what, after, links.at("/alerts"), "View alerts")


def _unrouted(alerts: OpenAlerts, links: PageLinks) -> Iterator[ActionItem]:
    """Yield that nobody is told of some open alerts, and where that is mended."""
    if alerts.unrouted:
        one = alerts.unrouted == 1
        more = "+" if alerts.unrouted >= MAX_COUNTED else ""
        what = f"{alerts.unrouted:,}{more} open alert{'' if one else 's'}"
        after = f" {'is' if one else 'are'} unrouted: nobody is told."
        yield ActionItem("medium", "", what, after, links.at("/routes"), "View routes")


def _peers(data: OverviewData, now: float, zone: tzinfo | None, links: PageLinks) -> Iterator[ActionItem]:
    """Yield the appliances that are away, for operators: customers are told in a notice, since they can do nothing."""
    for peer in data.away if links.operator else ():
        devices = f"{peer.devices:,} device{'s' if peer.devices != 1 else ''}"
        whether = f"whether the {devices} it heard last send{'s' if peer.devices == 1 else ''} is not known."
        after = f" {since_text(peer, now, zone)}: {whether}"
        yield ActionItem("high", "Appliance ", peer.title, after, "/system#sys-peers", "View system")


def _where(site: SiteCounts, links: PageLinks) -> str:
    of = "" if links.tenant else f" of {site.tenant_id}"
    return f"{of} at {site.name}" if site.site_id else f"{of} without a site"
