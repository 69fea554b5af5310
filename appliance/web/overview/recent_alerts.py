"""The card of recent alerts: a line for each, whatever has become of it. Pure."""

from dataclasses import dataclass

from appliance.alerts.alert import Alert, Status
from appliance.alerts.store import ListedAlert
from appliance.web.overview.action_items import PageLinks
from appliance.web.overview.open_alerts import CLASSES


@dataclass(frozen=True, slots=True)
class RecentAlert:
    """A line of the card."""

    alert: Alert
    kind: str
    """The class of its severity."""
    about: str
    """The device or site; with the tenant where the page shows all."""
    state: str
    """What has become of it; empty while it is open."""
    href: str


def recent_alert(one: ListedAlert, links: PageLinks) -> RecentAlert:
    """Return the line of an alert."""
    alert = one.alert
    about = [one.device_name or alert.device_id or one.site_name or alert.site_id or ""]
    about += [alert.tenant_id] if links.operator and not links.tenant else []
    return RecentAlert(
        alert,
        CLASSES[alert.severity],
        ", ".join(text for text in about if text),
        "" if alert.status is Status.OPEN else alert.status.value.capitalize(),
        links.alert(alert.tenant_id, alert.alert_id),
    )
