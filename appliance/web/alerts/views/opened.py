"""One alert as its page and the opened row of the list show it: chart, facts, timeline, and what stands above them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from appliance import local_time
from appliance.alerts.alert import Alert, AlertType, CloseReason, Status
from appliance.alerts.silence.unread import no_reading_since
from appliance.alerts.timeline import TimelineEntry, TimelineKind, timeline
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import alert_notices
from appliance.delivery.outbox.alert_notices import AlertNotice
from appliance.devices.metrics.metric import Metric
from appliance.web.access.auth import ADMINS, Viewer
from appliance.web.alerts.labels import ALERT_TYPES, CLOSE_REASONS, TIMELINE
from appliance.web.alerts.views import limits, notice_texts, page_query
from appliance.web.alerts.views.chart import AlertChart, alert_chart
from appliance.web.alerts.views.notice_texts import Seen
from appliance.web.alerts.views.page_query import AlertOnPage, Surroundings
from appliance.web.alerts.views.routing import Routing, read_routing
from appliance.web.alerts.views.shown import ShownAlert, measured, shown, until_text
from appliance.web.page import formats
from appliance.web.page.paths import of_tenant, to_device

USUAL_METRIC = "temperature"
"""What a chart of a silent device shows if it sends that, else the first number."""
SHORT = frozenset({"Condition", "Clears", "Triggered", "Rule", "Type", "Silent for", "Limit", "No reading since"})
"""Facts that stand in the opened row of the list."""
ICONS: Mapping[TimelineKind, str | None] = {
    TimelineKind.OPENED: None,
    TimelineKind.ACKNOWLEDGED: "i-check",
    TimelineKind.UNACKNOWLEDGED: "i-rotate-ccw",
    TimelineKind.CLOSED: "i-circle-check",
    TimelineKind.SILENCED: "i-bell-off",
    TimelineKind.UNSILENCED: "i-bell",
    TimelineKind.NOTE: "i-pencil",
    TimelineKind.INHIBITED: "i-pause",
    TimelineKind.RELEASED: "i-bell",
    TimelineKind.UPDATED: "i-refresh-cw",
}
"""Of the timeline; None: the glyph of the severity."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of facts. ``strong``: the class of a value that stands out."""

    name: str
    text: str
    href: str | None = None
    after: str = ""
    below: str = ""
    strong: str = ""
    mono: bool = False
    at: float | None = None
    """For a time: seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One entry of the timeline. ``icon`` None: the glyph of the severity."""

    at: float
    icon: str | None
    title: str
    note: str = ""
    strong: str = ""
    """A failure, after the title."""
    href: str | None = None
    """The delivery that needs a look."""


@dataclass(frozen=True, slots=True)
class PlaceInList:
    """Where an open alert stands among all open ones, and the addresses of its neighbours."""

    number: int
    total: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class OpenedAlert:
    """Everything that is shown of one alert."""

    one: ShownAlert
    around: Surroundings
    timeline: Sequence[TimelineRow]
    facts: Sequence[Fact]
    short_facts: Sequence[Fact]
    chart: AlertChart | None
    silenced: bool
    silence: str
    """Until when it is silenced and by whom, in a sentence; empty if it is not."""
    since: str
    """How long it has been what it is."""
    cause_href: str | None
    """The page of the alert that stands for it."""
    inhibited: Sequence[tuple[int, str | None, str]]
    """Alerts that it stands for."""
    routing: Routing
    """Who was told, and why."""
    window: str
    """Whether a maintenance window covers its device now, in a sentence; empty for a closed one."""
    place: PlaceInList | None = None


async def open_alert(
    connection: Connection[Any],
    one: AlertOnPage,
    who: Viewer,
    *,
    now: datetime,
    settled: datetime,
    retention: timedelta,
    chosen: str = "around",
) -> OpenedAlert:
    """Read what is shown of an alert. ``chosen``: the range of its chart; ``retention``: how long readings are kept."""
    alert = one.alert
    around = await page_query.read_surroundings(connection, alert, now)
    name = one.metric or _usual_metric(alert, around)
    values = {} if name is None else {name: alert.details.get("value")}
    metric = (await page_query.read_named(connection, alert.tenant_id, values)).get(name or "")
    chart = None
    if metric is not None and alert.device_id is not None:
        source = f"/customer/devices/{alert.device_id}/telemetry"
        chart = await alert_chart(
            connection,
            alert,
            metric,
            chosen,
            now=now,
            zone=who.zone,
            oldest_reading=now - retention,
            csv=of_tenant(source, who, alert.tenant_id, metric=metric.name, format="csv"),
        )
    entries = await timeline(connection, alert.tenant_id, alert.alert_id)
    seen = Seen(who, now)
    routing = await read_routing(connection, alert, around.cause, seen)
    told = await alert_notices.told_of(connection, [(alert.tenant_id, alert.alert_id)])
    known = {} if metric is None else {(alert.tenant_id, metric.name): metric}
    about = metric if one.metric is not None else None
    unread = (await no_reading_since(connection, [alert.alert_id])).get(alert.alert_id)
    facts = list(_facts(one, around, about, who, now, unread))
    return OpenedAlert(
        one=shown(one, known, who, now=now, settled=settled, told=told.get(alert.alert_id)),
        around=around,
        timeline=_timeline(entries, routing.notices, alert, seen),
        facts=facts,
        short_facts=[fact for fact in facts if fact.name in SHORT],
        chart=chart,
        silenced=one.listed.silenced(settled=settled),
        silence=_silence(one, settled, now, who.zone),
        since=_since(alert, now),
        cause_href=None
        if alert.inhibited_by is None or alert.status is Status.CLOSED
        else of_tenant(f"/alerts/{alert.inhibited_by}", who, alert.tenant_id),
        inhibited=await page_query.read_inhibited(connection, alert) if around.inhibits else (),
        routing=routing,
        window=_window(one, now, who.zone),
    )


def _usual_metric(alert: Alert, around: Surroundings) -> str | None:
    """Return the metric that a chart of a silent device shows; None for other alerts."""
    if alert.alert_type not in (AlertType.NO_HEARTBEAT, AlertType.NO_DATA):
        return None
    numbers = [name for name, value in (around.latest or {}).items() if limits.number_of(value) is not None]
    return USUAL_METRIC if USUAL_METRIC in numbers else next(iter(numbers), None)


def _facts(
    one: AlertOnPage, around: Surroundings, metric: Metric | None, who: Viewer, now: datetime, unread: datetime | None
) -> Iterator[Fact]:
    """Yield the facts of an alert, in the order in which they are read.

    ``unread``: since when its device sends nothing that could end it.
    """
    alert, details, parameters = one.alert, one.alert.details, one.parameters
    yield from _measured(one, around, metric, now)
    if unread is not None:
        yield Fact("No reading since", formats.absolute(unread.timestamp(), who.zone), at=unread.timestamp())
    condition = limits.condition(parameters, metric)
    if condition:
        yield Fact("Condition", condition)
    clears = limits.clearing(parameters, metric)
    if clears:
        yield Fact("Clears", clears)
    opened = alert.started_at.timestamp()
    yield Fact(
        "Recorded" if alert.inhibited_by is not None else "Opened",
        formats.absolute(opened, who.zone),
        at=opened,
        below=_at_the_site(opened, around.time_zone, who.zone),
    )
    if alert.closed_at is not None:
        closed = alert.closed_at.timestamp()
        lasted = formats.lasting(max(round(closed - opened), 0))
        yield Fact("Closed", formats.absolute(closed, who.zone), at=closed, below=f"after {lasted}")
    times = "once" if alert.trigger_count == 1 else f"{alert.trigger_count:,} times"
    last = formats.moment_of(alert.last_triggered_at.timestamp(), now.timestamp(), who.zone)
    yield Fact("Triggered", times, after=f", last {last}")
    if alert.device_id is not None:
        yield Fact("Device", alert.device_id, to_device(who, alert.tenant_id, alert.device_id), mono=True)
    place = ", ".join(text for text in (one.listed.device_name, one.listed.device_place) if text)
    if place:
        yield Fact("Place", place)
    if alert.site_id is not None:
        site = of_tenant(f"/sites/{alert.site_id}", who, alert.tenant_id)
        yield Fact("Site", one.listed.site_name or alert.site_id, site)
    yield from _rule(one, who)
    if around.similar and around.previous_id is not None and around.previous_at is not None:
        before = formats.local(around.previous_at.timestamp(), who.zone)
        number = f"{around.similar:,} similar alert{'' if around.similar == 1 else 's'} in 30 days"
        href = of_tenant(f"/alerts/{around.previous_id}", who, alert.tenant_id)
        yield Fact("History", number, href, after=f", the last on {before:%-d %b %H:%M}")
    if isinstance(details.get("devices"), int):
        yield Fact("Devices", f"{details['devices']:,}")
    yield from _condition(alert, who)


def _condition(alert: Alert, who: Viewer) -> Iterator[Fact]:
    """Yield what there is to know of an alert that no device's reading caused, and where to deal with it."""
    if isinstance(alert.details.get("cause"), str):
        yield Fact("Cause", alert.details["cause"])
    integration_id = alert.details.get("integration_id")
    if isinstance(integration_id, str):
        yield Fact("To do", "View the integration", of_tenant(f"/integrations/{integration_id}", who, alert.tenant_id))
    elif alert.alert_type is AlertType.APPROVAL:
        yield Fact("To do", "Review the devices", of_tenant("/devices", who, alert.tenant_id, status="PENDING"))
    elif alert.alert_type is AlertType.CAPACITY:
        waiting = of_tenant("/quarantine", who, alert.tenant_id, reason="NO_SUBSCRIPTION_CAPACITY")
        devices = of_tenant("/devices", who, alert.tenant_id, status="ACTIVE")
        waits = alert.details.get("waiting")
        yield Fact("To do", "View what waits" if waits else "View the devices", waiting if waits else devices)
    elif alert.alert_type is AlertType.SUBSCRIPTION_EXPIRING:
        yield from _subscription(alert, who)
    elif alert.alert_type is AlertType.SYSTEM and who.is_operator:
        yield Fact("To do", "View System", "/system")


def _subscription(alert: Alert, who: Viewer) -> Iterator[Fact]:
    """Yield the subscription that ends, and where those renew it who may."""
    subscription_id = str(alert.details.get("subscription_id"))
    page = f"/subscriptions/{subscription_id}"
    yield Fact("Subscription", subscription_id, of_tenant(page, who, alert.tenant_id), mono=True)
    if alert.closed_at is None and who.role in ADMINS:
        yield Fact("To do", "Renew the subscription", of_tenant(f"{page}/renew", who, alert.tenant_id))


def _measured(one: AlertOnPage, around: Surroundings, metric: Metric | None, now: datetime) -> Iterator[Fact]:
    """Yield the value of an alert: the newest one while it lasts, and that of its opening."""
    alert = one.alert
    value, limit = measured(one, metric, now)
    if alert.alert_type in (AlertType.NO_HEARTBEAT, AlertType.NO_DATA):
        yield Fact("Silent for", value, strong="t-crit", after=f", {limit}" if limit else "")
        return
    opening = limits.quantity(alert.details.get("value"), metric)
    if value != opening and around.newest_at is not None:
        ago = formats.ago(around.newest_at.timestamp(), now.timestamp())
        yield Fact("Value", value, strong="t-crit", after=f", {ago}")
        if opening:
            yield Fact("At opening", opening)
    elif value:
        yield Fact("Value", value)
    if limit and not one.parameters:
        yield Fact("Limit", limit.removeprefix("limit "))


def _rule(one: AlertOnPage, who: Viewer) -> Iterator[Fact]:
    alert, name = one.alert, one.listed.rule_name
    if alert.rule_id is None or name is None:
        yield Fact("Type", ALERT_TYPES[alert.alert_type])
    elif one.rule_gone:
        yield Fact("Rule", name, after=", deleted")
    else:
        href = of_tenant(f"/rules/{alert.rule_id}", who, alert.tenant_id)
        yield Fact("Rule", name, href, after=", built in" if one.built_in else "")


def _at_the_site(at: float, zone_name: str | None, zone: tzinfo | None) -> str:
    """Return the time on the clocks of the site, if they show another time than the viewer's."""
    site_zone = local_time.zone_of(zone_name)
    if site_zone is None or formats.local(at, site_zone).utcoffset() == formats.local(at, zone).utcoffset():
        return ""
    return f"{formats.local(at, site_zone):%-d %b, %H:%M:%S %Z} at the site"


def _since(alert: Alert, now: datetime) -> str:
    """Return how long an alert has been what it is."""
    began = alert.started_at
    if alert.closed_at is not None:
        return f"closed, was open for {formats.lasting(max(round((alert.closed_at - began).total_seconds()), 0))}"
    long = formats.ago(began.timestamp(), now.timestamp()).removesuffix(" ago")
    what = "open" if alert.inhibited_by is None else "inhibited"
    return f"{what} since now" if long == "now" else f"{what} for {long}"


def _silence(one: AlertOnPage, settled: datetime, now: datetime, zone: tzinfo | None) -> str:
    alert = one.alert
    if not one.listed.silenced(settled=settled) or alert.silenced_until is None:
        return ""
    until = until_text(alert.silenced_until.timestamp(), now.timestamp(), zone)
    return f"Silenced until {until}{f' by {alert.silenced_by}' if alert.silenced_by else ''}."


def _window(one: AlertOnPage, now: datetime, zone: tzinfo | None) -> str:
    if one.alert.status is Status.CLOSED or one.alert.device_id is None:
        return ""
    if one.maintenance is None:
        return "No maintenance window covers this device now."
    until = until_text(one.maintenance.until, now.timestamp(), zone)
    return f"The maintenance window {one.maintenance.window.name} covers this device until {until}."


def _timeline(
    entries: Sequence[TimelineEntry], notices: Sequence[AlertNotice], alert: Alert, seen: Seen
) -> list[TimelineRow]:
    """Return the steps of an alert and its notices, newest first; a notice stands above the step that it tells."""
    steps = [_timeline_row(entry, seen.now, seen.zone) for entry in entries]
    told = [
        TimelineRow(row.at, row.icon, row.title, row.note, row.strong, row.href)
        for row in notice_texts.timeline_rows(notices, alert.tenant_id, seen)
    ]
    return sorted([*reversed(told), *steps], key=lambda row: row.at, reverse=True)


def _timeline_row(entry: TimelineEntry, now: datetime, zone: tzinfo | None) -> TimelineRow:
    """Return an entry in words."""
    by = "" if entry.actor is None else f" by {entry.actor}"
    at, note = entry.at.timestamp(), entry.note or ""
    if entry.kind is TimelineKind.NOTE:
        return TimelineRow(at, "i-pencil", f"“{note}”", f"Note{by}")
    icon, title = ICONS[entry.kind], TIMELINE[entry.kind]
    if entry.kind is TimelineKind.SILENCED and isinstance(entry.details.get("until"), str):
        with suppress(ValueError):
            until = datetime.fromisoformat(entry.details["until"]).timestamp()
            title = f"Silenced until {until_text(until, now.timestamp(), zone)}"
    if entry.kind is TimelineKind.UPDATED and isinstance(entry.details.get("summary"), str):
        note = entry.details["summary"]
    if entry.kind is TimelineKind.CLOSED and entry.actor is None:
        return TimelineRow(at, icon, title, note or _end(entry))
    return TimelineRow(at, icon, f"{title}{by}", note)


def _end(entry: TimelineEntry) -> str:
    """Return why the appliance closed an alert, in words."""
    try:
        return CLOSE_REASONS[CloseReason(str(entry.details.get("reason")))]
    except ValueError:
        return ""
