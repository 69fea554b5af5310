"""The numbers of the navigation: devices, and what waits for a person; and whether notices get out. Pure."""

from dataclasses import dataclass
from datetime import datetime

from appliance.web.page.no_way_out import NoWayOut
from appliance.web.page.subscription_notice import SubscriptionNotice


@dataclass(frozen=True, slots=True)
class NavCount:
    """One number, followed by ``shown``, or else by ``spoken``, a word for screen readers only."""

    number: int
    shown: str = ""
    spoken: str = ""

    hot: bool = False
    """Whether it stands for something that is wrong."""

    @property
    def due(self) -> bool:
        """Return whether the number calls for an action, which ``shown`` then names."""
        return bool(self.shown)


@dataclass(frozen=True, slots=True)
class NavCounts:
    """The numbers of one tenant, or of all tenants; with them what every page must say."""

    devices: int
    """All registered devices."""
    waiting: int
    """Devices that are pending approval."""
    held: int
    """Messages that are held in quarantine."""
    alerts: int = 0
    """Alerts that are open: not acknowledged, not silenced, and no other alert stands for them."""
    failing: int = 0
    """Integrations of which an alert says that they do not deliver."""
    retried: int = 0
    """Integrations whose last tries failed, whether an alert says so by now or not."""
    suspended: bool = False
    """Whether the one tenant is suspended."""
    subscription: SubscriptionNotice | None = None
    """Of the one tenant: that a subscription has ended, or is held."""
    way_out: NoWayOut | None = None
    """Set while notices find no way out."""
    backup_made_at: datetime | None = None
    """For operators: set while notices are held since a restore; when its backup was made."""
    sole_tenant: str | None = None
    """For operators who see all tenants: the tenant, if there is exactly one."""

    def beside(self, path: str) -> NavCount | None:
        """Return the number for the entry that leads to ``path``, or None if it has none."""
        if path == "/alerts" and self.alerts:
            return NavCount(self.alerts, spoken="open", hot=True)
        if path == "/devices" and self.waiting:
            return NavCount(self.waiting, shown="waiting")
        if path == "/devices" and self.devices:
            return NavCount(self.devices, spoken="in all")
        if path == "/quarantine" and self.held:
            return NavCount(self.held, spoken="held")
        if path == "/routes" and self.retried:
            return NavCount(self.retried, shown="failing", hot=True)
        return None
