"""The Overview: action items, message rates, refusals, devices and seats.

It shows the viewer's tenant; operators see all tenants, or that of ``?tenant=``. A site and a time range can be chosen.
A site narrows devices, their action items and their readings; messages are counted by tenant, and the page says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
import trio
from quart import Blueprint, Response, request

from appliance.devices.fleet import SiteCounts
from appliance.ingest.summary import LastReading
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions.lifecycle import SubscriptionStatus, usable
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.terms import last_day_text
from appliance.web.access.auth import READERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.devices.labels import NONE
from appliance.web.devices.port import ListenerAddress
from appliance.web.live.parts import LivePart
from appliance.web.overview import action_items, message_rates, onboarding_checklist
from appliance.web.overview.action_items import ActionItem, PageLinks
from appliance.web.overview.choice import PAGE, SCALES, OverviewChoice
from appliance.web.overview.onboarding_checklist import ChecklistStep
from appliance.web.overview.open_alerts import NONE_OPEN, OpenAlertQueries, OpenAlerts
from appliance.web.overview.query import LAST_READINGS, OverviewData, OverviewQueries
from appliance.web.overview.recent_alerts import RecentAlert, recent_alert
from appliance.web.page import charts, csv, formats
from appliance.web.page.address import Address
from appliance.web.page.away_peers import notices
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.frame import Frame
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform
from appliance.web.subscriptions.labels import days_left, subscription_title

log = structlog.get_logger(__name__)

FILE_HEADS = ("from", "seconds", "received", "stored", "refused", "duplicate", "cleared")
REASONS_SHOWN = 6
SITES_SHOWN = 6
LIVE_PATIENCE = 1.0
"""Seconds that a live update waits for its data: a longer wait would look like a lost connection."""

_IMMEDIATE = frozenset({"live-state", "kpi-messages", "kpi-alerts"})
"""Live parts that are sent as soon as they change; the others are calm."""
_PARTS: Mapping[str, str] = {
    "live-state": "live-state",
    "kpi-messages": "kpi-messages",
    "attention": "action-items",
    "peers-away": "peers-away",
    "kpi-devices": "kpi-devices",
    "kpi-alerts": "kpi-alerts",
    "kpi-refused": "kpi-refused",
    "kpi-held": "kpi-held",
    "kpi-seats": "kpi-seats",
    "chart-rate": "chart-rate",
    "books": "accounting",
    "reasons": "reasons",
    "readings": "readings",
    "recent-alerts": "recent-alerts",
    "sites": "sites",
    "seats": "seats",
    "first-steps": "onboarding-checklist",
}
"""The live parts: element id -> template in templates/overview/."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Refused messages of one reason; ``share`` is in percent of the most frequent one."""

    code: str
    label: ReasonLabel
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A reading in the table. ``measured_at`` is set where it differs from the receipt by more than a minute."""

    tenant_id: str
    device_id: str
    kind: str
    metrics: list[tuple[str, str]]
    more: int
    received_at: float
    measured_at: float | None


@dataclass(frozen=True, slots=True)
class Presences:
    """Devices by presence."""

    devices: int
    online: int
    stale: int
    offline: int
    refused: int
    new: int
    """Never heard."""


@dataclass(frozen=True, slots=True)
class Seats:
    """A subscription with its seats and its end."""

    title: str
    href: str
    used: int
    limit: int
    end: str
    colour: str
    last_day: str
    """Its last full day."""
    days_left: int | None
    """None: it has ended."""
    usable: bool
    """Whether its devices' messages are accepted."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page shows. ``data`` is None until the database has answered once."""

    links: PageLinks
    choice: OverviewChoice
    site_choices: Sequence[tuple[str, str]]
    """Value and label of each site of the one tenant that is shown."""
    action_items: Sequence[ActionItem]
    notices: Sequence[str]
    """What is wrong with the appliance, and appliances that are away, for customers: operators have action items."""
    presences: Presences
    sites: Sequence[SiteCounts]
    more_sites: int
    seats: Sequence[Seats]
    """All subscriptions, in the order of their ends."""
    steps: Sequence[ChecklistStep]
    rate: message_rates.Rate
    chart: message_rates.RateChart
    refused_columns: list[charts.Column]
    data: OverviewData | None
    reasons: list[ReasonCount]
    more_reasons: int
    rows: list[ReadingRow]
    alerts: OpenAlerts | None
    """None until the database has answered."""
    recent_alerts: Sequence[RecentAlert]

    @property
    def elsewhere(self) -> str:
        """Return a note for what is not counted by site, if a site was chosen."""
        return "" if self.choice.site is None else ", all sites"

    @property
    def next_end(self) -> Seats | None:
        """Return the running subscription that ends next, if there is one."""
        return next((one for one in self.seats if one.days_left is not None), None)

    @property
    def seats_used(self) -> int:
        """Return the number of seats in use, of all usable subscriptions."""
        return sum(one.used for one in self.seats if one.usable)

    @property
    def seats_total(self) -> int:
        """Return the number of seats of all usable subscriptions."""
        return sum(one.limit for one in self.seats if one.usable)


def blueprint(renderer: PageRenderer, queries: OverviewQueries, listener: ListenerAddress) -> Blueprint:
    """Return the routes of the page; registers its live parts."""
    routes = Blueprint(PAGE, __name__)
    platform, render = renderer.platform, renderer.templates.render
    alerts = OpenAlertQueries(platform)

    async def assemble(frame: Frame, data: OverviewData | None, choice: OverviewChoice) -> Overview:
        found: OpenAlerts | None = None
        if data is not None and platform.health().postgres is None:
            data = replace(data, away=await renderer.away_peers.read(frame.viewer, choice.tenant))
            found = await alerts.read_if_there(frame.viewer, choice)
        return _assemble(platform, frame, data, choice, found)

    @routes.get("/")
    @allow(READERS)
    async def page() -> Response:
        who = viewer()
        choice = OverviewChoice.of(tenants_shown(), request.args)
        if csv.asked_for():
            return _file(await queries.read(who, choice), choice, platform.clock.now())
        frame, address = await renderer.counted(_frame(who, platform, choice)), Address.of_request()
        shown = await assemble(frame, await queries.read(who, choice), choice)
        html = render(
            "overview/overview.html",
            frame=frame,
            address=address,
            shown=shown,
            ranges=[
                (scale.title, address.having(range=one.value), one is choice.range) for one, scale in SCALES.items()
            ],
            first_message=listener.command(request.host, "TENANT/device/DEVICE", "PASSWORD"),
            live=False,
        )
        return Response(html, content_type="text/html; charset=utf-8")

    async def fragments(seen_by: Viewer, choice: OverviewChoice) -> list[LivePart]:
        frame = _frame(seen_by, platform, choice)
        shown = await assemble(frame, await _data_or_last_known(platform, queries, frame, choice), choice)
        # an empty table keeps the command line that the page was loaded with
        parts = [
            LivePart(
                element_id,
                render(f"overview/{template}.html", frame=frame, shown=shown, live=True),
                calm=element_id not in _IMMEDIATE,
            )
            for element_id, template in _PARTS.items()
            if element_id != "readings" or shown.rows
        ]
        return parts + await renderer.live_nav_counts(seen_by, choice.tenant)

    async def of_viewer(seen_by: Viewer) -> list[LivePart]:
        return await fragments(seen_by, OverviewChoice(seen_by.tenant_id))

    async def of_choice(seen_by: Viewer, which: str) -> list[LivePart]:
        choice = OverviewChoice.of_live_page(which, seen_by.tenant_id)
        return [] if choice is None else await fragments(seen_by, choice)

    renderer.live_pages.add(PAGE, of_viewer)
    renderer.live_pages.add_each(PAGE, of_choice)
    return routes


def _frame(who: Viewer, platform: Platform, choice: OverviewChoice) -> Frame:
    tenant = choice.tenant if who.is_operator else None
    return Frame(who, platform.clock.now(), "/", choice.live_page, tenant)


async def _data_or_last_known(
    platform: Platform, queries: OverviewQueries, frame: Frame, choice: OverviewChoice
) -> OverviewData | None:
    """Return current data; while Postgres is not reachable, the last data: the socket stays open and says so."""
    if platform.health().postgres is None:
        try:
            with trio.fail_after(LIVE_PATIENCE):
                return await queries.read(frame.viewer, choice)
        except POSTGRES_AWAY as error:
            log.debug("live page without postgres", error=str(error))
    return queries.last_known(frame.viewer, choice)


def _assemble(
    platform: Platform,
    frame: Frame,
    data: OverviewData | None,
    choice: OverviewChoice,
    alerts: OpenAlerts | None,
) -> Overview:
    who, settled, feed = frame.viewer, platform.clock.settled(), platform.live
    links = PageLinks(who.is_operator, choice.tenant)
    reasons = [] if data is None else reason_counts(data.reasons)
    all_sites: Sequence[SiteCounts] = () if data is None else data.sites
    sites = [one for one in all_sites if choice.site in (None, one.site_id)]
    sites.sort(key=lambda site: (-site.offline, -site.total, site.name))
    readings = feed.readings(LAST_READINGS, choice.tenant)
    if choice.site is not None:
        readings = [] if data is None else list(reversed(data.readings))
    return Overview(
        links=links,
        choice=choice,
        site_choices=[] if choice.tenant is None else sites_of(all_sites, choice),
        action_items=[]
        if data is None
        else action_items.action_items(
            replace(data, sites=sites), settled, who.zone, links, policy=platform.renewals, alerts=alerts or NONE_OPEN
        ),
        notices=[] if who.is_operator else notices(platform.affected(), data.away if data else (), frame.now, who.zone),
        presences=presences(sites),
        sites=sites[:SITES_SHOWN],
        more_sites=max(len(sites) - SITES_SHOWN, 0),
        seats=[] if data is None else seats(data, settled, links, policy=platform.renewals),
        steps=[] if data is None else onboarding_checklist.steps(data, who.role, links),
        rate=message_rates.current(feed, choice.tenant),
        chart=message_rates.chart(message_rates.flow(feed, data, choice), choice, who.zone),
        refused_columns=message_rates.refused_columns(feed, data, choice),
        data=data,
        reasons=reasons[:REASONS_SHOWN],
        more_reasons=max(len(reasons) - REASONS_SHOWN, 0),
        rows=[_row(reading) for reading in readings],
        alerts=alerts,
        recent_alerts=[] if alerts is None else [recent_alert(one, links) for one in alerts.recent],
    )


def sites_of(all_sites: Sequence[SiteCounts], choice: OverviewChoice) -> list[tuple[str, str]]:
    """Return value and label of the sites to choose from, by name; the chosen one is always included."""
    named = {one.site_id or NONE: one.name or "No site" for one in all_sites}
    if choice.site is not None:
        named.setdefault(choice.site or NONE, choice.site or "No site")
    return sorted(named.items(), key=lambda item: (item[0] == NONE, item[1].lower()))


def _file(data: OverviewData, choice: OverviewChoice, now: float) -> Response:
    """Return the download of the accounting of the time range, step by step; the last step is not over yet."""
    rows = [
        (
            datetime.fromtimestamp(one.began, UTC),
            choice.scale.step,
            one.received,
            one.stored,
            one.refused,
            one.duplicate,
            one.cleared,
        )
        for one in data.accounting
    ]
    return csv.answer("messages", FILE_HEADS, csv.at_once(rows), now)


def presences(sites: Sequence[SiteCounts]) -> Presences:
    """Return the sums over all sites."""
    return Presences(
        devices=sum(site.total for site in sites),
        online=sum(site.online for site in sites),
        stale=sum(site.stale for site in sites),
        offline=sum(site.offline for site in sites),
        refused=sum(site.refused for site in sites),
        new=sum(site.new for site in sites),
    )


def seats(data: OverviewData, now: float, links: PageLinks, *, policy: RenewalPolicy) -> list[Seats]:
    """Return the subscriptions in the order of their ends."""
    shown, moment = [], datetime.fromtimestamp(now, UTC)
    rows = as_of(data.subscriptions, moment, policy.grace)
    for row in sorted(rows, key=lambda one: (one.term_end, one.tenant_id, one.subscription_id)):
        zone = data.zones.get(row.tenant_id)
        status, left = row.status, days_left(row, moment, zone)
        runs = status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIAL)
        soon = row.term_end - moment <= policy.soon
        colour = "" if runs and not soon else "medium" if runs else "crit"
        end = (
            f"{action_items.days(left)} left"
            if runs
            else "In grace"
            if status is SubscriptionStatus.GRACE
            else status.capitalize()
        )
        name = subscription_title(row)
        shown.append(
            Seats(
                title=name if links.tenant else f"{name}, {row.tenant_id}",
                href=links.subscription(row),
                used=row.active_device_count,
                limit=row.device_limit,
                end=end,
                colour=colour,
                last_day=last_day_text(row.term_end, zone),
                days_left=left if runs else None,
                usable=usable(status),
            )
        )
    return shown


def reason_counts(reasons: Mapping[str, int]) -> list[ReasonCount]:
    """Return reasons with labels, most frequent first, each with its share of the first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(code, reason_label(code), count, 100 * count / ordered[0][1]) for code, count in ordered]


def _row(reading: LastReading) -> ReadingRow:
    shown = formats.metrics(reading.metrics)
    delayed = abs(reading.received_at - reading.ts) > 60
    return ReadingRow(
        tenant_id=reading.tenant_id,
        device_id=reading.device_id,
        kind=reading.kind.value,
        metrics=shown,
        more=len(reading.metrics) - len(shown),
        received_at=reading.received_at,
        measured_at=reading.ts if delayed else None,
    )
