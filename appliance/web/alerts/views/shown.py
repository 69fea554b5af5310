"""An alert as rows and pages show it: its value against its limit, its marks, where it leads. Pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from appliance.alerts.alert import Alert, AlertType, Status
from appliance.delivery.outbox.alert_notices import Told
from appliance.devices.metrics.metric import Metric
from appliance.severity import Severity
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.alerts.labels import ALERT_TYPES, CLOSE_REASONS
from appliance.web.alerts.views import limits
from appliance.web.alerts.views.page_query import AlertOnPage, MetricKey
from appliance.web.page import formats
from appliance.web.page.address import Address
from appliance.web.page.paths import of_tenant, to_device

SEVERITY_CLASSES: Mapping[Severity, str] = {
    Severity.CRITICAL: "crit",
    Severity.HIGH: "high",
    Severity.MEDIUM: "medium",
    Severity.LOW: "low",
    Severity.INFO: "info",
}
"""The classes of the style sheet."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A badge: its text, the class of the style sheet, and more in a tooltip."""

    text: str
    kind: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert with everything that a row says of it. Times are seconds since 1970."""

    alert: Alert
    severity: str
    """The class of its severity."""
    type_label: str
    device_href: str | None
    device: str
    """The device's name, else its id."""
    place: str
    site: str
    rule: str
    value: str
    limit: str
    marks: list[Mark]
    delivery: Mark
    started_at: float
    ended_at: float | None
    href: str
    """The address of its page."""
    takes_steps: bool
    """Whether the viewer may act on it."""
    spark: str = ""

    @property
    def alert_id(self) -> int:
        """Return its id."""
        return self.alert.alert_id

    @property
    def is_closed(self) -> bool:
        """Return whether it is closed."""
        return self.alert.status is Status.CLOSED

    @property
    def is_open(self) -> bool:
        """Return whether it waits for an acknowledgement."""
        return self.alert.status is Status.OPEN

    @property
    def ended(self) -> str:
        """Return why it is closed, in words; empty while it is not."""
        return "" if self.alert.close_reason is None else CLOSE_REASONS[self.alert.close_reason]


def delivery_mark(alert: Alert, told: Told | None) -> Mark:
    """Return how many routes told of an alert, or why nobody is told."""
    if told is not None and (told.arrived or alert.inhibited_by is None):
        text, unfinished = f"{told.arrived} of {told.routes}", told.dead or told.waiting
        if told.dead:
            return Mark(f"{text}, {told.dead} dead", "crit", "Notices that were given up.")
        if unfinished:
            return Mark(f"{text}, {told.waiting} waiting", "medium", "Notices that are to be sent.")
        return Mark(text, "mut" if told.arrived else "plain", "Notices that arrived, of those that routes asked for.")
    if alert.inhibited_by is not None:
        return Mark("Not sent", "plain", f"Alert {alert.inhibited_by} stands for it.")
    if alert.past:
        return Mark("Not sent", "plain", "It ended before it could be delivered.")
    return Mark("Unrouted", "plain", "No route takes it: nobody is told of it.")


def shown(
    one: AlertOnPage,
    metrics: Mapping[MetricKey, Metric],
    who: Viewer,
    *,
    now: datetime,
    settled: datetime,
    told: Told | None,
    spark: str = "",
) -> ShownAlert:
    """Return what a row says of an alert; ``settled`` is the instant by which silences end."""
    alert, listed = one.alert, one.listed
    value, limit = measured(one, metrics.get((alert.tenant_id, one.metric or "")), now)
    return ShownAlert(
        alert=alert,
        severity=SEVERITY_CLASSES[alert.severity],
        type_label=ALERT_TYPES[alert.alert_type],
        device_href=None if alert.device_id is None else to_device(who, alert.tenant_id, alert.device_id),
        device=listed.device_name or alert.device_id or "",
        place=listed.device_place or "",
        site=listed.site_name or alert.site_id or "",
        rule=listed.rule_name or "",
        value=value,
        limit=limit,
        marks=marks(one, who.zone, now=now, settled=settled),
        delivery=delivery_mark(alert, told),
        started_at=alert.started_at.timestamp(),
        ended_at=None if alert.closed_at is None else alert.closed_at.timestamp(),
        href=to_alert(who, alert),
        takes_steps=one.takes_steps and who.role in RESPONDERS,
        spark=spark,
    )


def measured(one: AlertOnPage, metric: Metric | None, now: datetime) -> tuple[str, str]:
    """Return the value that an alert is about and what it is compared with.

    Of a limit that is passed it is the newest value; silence is as long as it lasts.
    """
    alert, details = one.alert, one.alert.details
    if alert.alert_type in (AlertType.NO_HEARTBEAT, AlertType.NO_DATA):
        limit = limits.number_of(details.get("threshold"))
        silent = max(((alert.closed_at or now) - alert.started_at).total_seconds(), 0)
        return formats.ago(0, silent).removesuffix(" ago"), "" if limit is None else f"limit {formats.lasting(limit)}"
    if alert.alert_type is AlertType.CHANGE:
        before = limits.quantity(details.get("before"), metric)
        return limits.quantity(details.get("value"), metric), f"was {before}" if before else ""
    lasts = alert.alert_type is AlertType.THRESHOLD and alert.status is not Status.CLOSED
    value = one.newest if lasts and one.newest is not None else details.get("value")
    threshold = limits.quantity(details.get("threshold"), metric, unit=False)
    return limits.quantity(value, metric), f"limit {threshold}" if threshold else ""


def marks(one: AlertOnPage, zone: tzinfo | None, *, now: datetime, settled: datetime) -> list[Mark]:
    """Return the badges of an alert: what is not as usual with it."""
    alert, found = one.alert, []
    if alert.status is Status.CLOSED:
        past = "Ended before it could be delivered."
        found.append(Mark("Past", title=past) if alert.past else Mark("Closed"))
    elif alert.inhibited_by is not None:
        found.append(Mark("Inhibited", title=f"Alert {alert.inhibited_by} stands for it."))
    if alert.status is Status.ACKNOWLEDGED:
        found.append(Mark("Acknowledged", "accent", f"By {alert.acknowledged_by or 'the appliance'}"))
    if one.listed.silenced(settled=settled) and alert.silenced_until is not None:
        until = until_text(alert.silenced_until.timestamp(), now.timestamp(), zone)
        found.append(Mark(f"Silenced until {until}", title=alert.silence_reason or ""))
    if one.maintenance is not None:
        until = until_text(one.maintenance.until, now.timestamp(), zone)
        window = one.maintenance.window
        found.append(Mark(f"In maintenance until {until}", "accent", window.reason or window.name))
    if one.flapping:
        found.append(Mark("Flapping", "medium", "Opened three times or more within an hour."))
    return found


def until_text(until: float, now: float, zone: tzinfo | None) -> str:
    """Return the end of a silence: ``16:00`` of today, else with its day, ``24 Nov 16:00``."""
    when = formats.local(until, zone)
    return f"{when:%H:%M}" if when.date() == formats.local(now, zone).date() else f"{when:%-d %b %H:%M}"


def to_alert(who: Viewer, alert: Alert, part: str = "", **query: str) -> str:
    """Return the address of an alert's page, or of a step of it."""
    return of_tenant(f"/alerts/{alert.alert_id}{part}", who, alert.tenant_id, **query)


def to_step(who: Viewer, address: Address) -> Callable[..., str]:
    """Return what makes addresses of steps of alerts; with ``in_list`` they lead back to the list at ``address``."""

    def to(one: ShownAlert, step: str, in_list: bool = False) -> str:
        query = {"back": address.having().query} if in_list else {}
        return to_alert(who, one.alert, f"/{step}", **query)

    return to
