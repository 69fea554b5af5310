"""The list of alerts: tabs, filters, pages, one alert opened below its row, or the whole list as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint, Response, request

from appliance.alerts import store
from appliance.alerts.maintenance.book import ActiveScopes
from appliance.alerts.store import AlertCounts, AlertFilter, AlertPosition, AlertSort, AlertTab
from appliance.db.trio_psycopg import Connection
from appliance.devices import sites
from appliance.errors import Invalid
from appliance.history import sparks
from appliance.severity import Severity
from appliance.web.access.auth import ADMINS, READERS, RESPONDERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.alerts import export
from appliance.web.alerts.labels import ALERT_TYPES, SORTS, TABS
from appliance.web.alerts.query import NO_SITE, AlertId, AlertQuery, filter_of
from appliance.web.alerts.views import page_query, undo
from appliance.web.alerts.views.opened import OpenedAlert, open_alert
from appliance.web.alerts.views.page_query import AlertOnPage
from appliance.web.alerts.views.shown import SEVERITY_CLASSES, ShownAlert, shown, to_step
from appliance.web.openapi.describe import parse_query
from appliance.web.page import charts, csv, cursor
from appliance.web.page.address import Address
from appliance.web.page.renderer import PageRenderer

PAGE = "alerts"
PAGE_ROWS, MAX_PAGE_ROWS = 50, 200
"""Alerts of a page, as usual and at most: the name of its live page has their ids."""
SETTLING = timedelta(seconds=10)
"""How long before the page was made an alert may have been created and be committed only after it."""
MAX_KNOWN = 200
"""Alerts created just before the page was made that its live part remembers as not new."""
NARROWING = (
    "q",
    "severity",
    "site_id",
    "alert_type",
    "device_id",
    "rule_id",
    "inhibited_by",
    "since",
    "until",
    "status",
)
"""The parameters that leave out alerts of a tab."""
DONE = {
    "acknowledged": "Alert acknowledged.",
    "unacknowledged": "The alert is open again.",
    "silenced": "Alert silenced.",
    "unsilenced": "The silence is over.",
    "closed": "Alert closed.",
    "noted": "Note added.",
}
MANY_DONE = {
    "acknowledged": "acknowledged",
    "unacknowledged": "open again",
    "silenced": "silenced",
    "unsilenced": "told again",
    "closed": "closed",
}


class PageQuery(AlertQuery, frozen=True, kw_only=True):
    """The query of the page."""

    tab: AlertTab = AlertTab.OPEN
    sort: AlertSort | None = None  # type: ignore[assignment] # what is usual depends on the tab
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_ROWS)] = PAGE_ROWS
    open: AlertId | None = None
    """The alert that is opened below its row."""

    @property
    def order(self) -> AlertSort:
        """Return the order: of what waits the most severe first, of what is over the newest."""
        return usual_sort(self.tab) if self.sort is None else self.sort

    @property
    def narrows(self) -> bool:
        """Return whether it leaves out alerts of its tab."""
        return any(getattr(self, name) for name in NARROWING)


def usual_sort(tab: AlertTab) -> AlertSort:
    """Return the order of a tab: of what waits the most severe first, of what is over the newest."""
    return AlertSort.NEWEST if tab in (AlertTab.CLOSED, AlertTab.ALL) else AlertSort.SEVERITY


@dataclass(frozen=True, slots=True)
class TabNumbers:
    """The numbers beside the tabs and severities."""

    unclosed: AlertCounts
    closed: int

    def of(self, tab: AlertTab) -> int:
        """Return the number of alerts of a tab."""
        if tab is AlertTab.CLOSED:
            return self.closed
        return self.unclosed.unclosed + self.closed if tab is AlertTab.ALL else self.unclosed.of(tab)

    def text(self, tab: AlertTab) -> str:
        """Return the number as it is shown: of very many closed alerts not all are counted."""
        more = "+" if self.closed >= store.MAX_CLOSED_COUNTED and tab in (AlertTab.CLOSED, AlertTab.ALL) else ""
        return f"{self.of(tab):,}{more}"

    def severity(self, tab: AlertTab, severity: Severity) -> int | None:
        """Return the number of alerts of a severity in a tab; None for tabs with closed alerts."""
        return self.unclosed.by_tab[tab][severity] if tab in self.unclosed.by_tab else None


@dataclass(frozen=True, slots=True)
class AlertList:
    """What the database says of one page of the list."""

    rows: Sequence[ShownAlert]
    next: AlertPosition | None
    numbers: TabNumbers
    opened: OpenedAlert | None
    places: Sequence[tuple[str, str]]
    """The sites to choose from: value and name."""
    known: Sequence[int]
    """Alerts created just before that match: not new to the page."""


def blueprint(renderer: PageRenderer, retention: timedelta) -> Blueprint:
    """Return the route of the list."""
    routes = Blueprint(PAGE, __name__)

    @routes.get("/alerts")
    @allow(READERS)
    async def alerts() -> Response:
        access, who = renderer.platform.access, viewer()
        try:
            asked, fault = parse_query(request.args, PageQuery), None
            wanted = filter_of(asked, tenants_shown(), who.zone)
            after = cursor.read(asked.cursor, AlertPosition)
        except Invalid as error:  # the page shows the error beside the list, which stays usable
            if error.field == "tenant":
                raise
            asked, fault, after = PageQuery(), error, None
            wanted = filter_of(asked, tenants_shown(), who.zone)
        if fault is None and csv.asked_for():
            return export.answer(renderer.platform, who, wanted, asked.order)
        async with access.reading() as connection:
            found = await read_list(connection, renderer, asked, wanted, after, who, retention)
        return await _answer(renderer, asked, found, fault)

    return routes


async def read_list(
    connection: Connection[Any],
    renderer: PageRenderer,
    asked: PageQuery,
    wanted: AlertFilter,
    after: AlertPosition | None,
    who: Viewer,
    retention: timedelta,
) -> AlertList:
    """Read one page of the list."""
    access = renderer.platform.access
    now, settled = access.now(), access.settled()
    maintenance = page_query.scopes(renderer.platform, wanted.tenant_id)
    page = await store.page(
        connection, wanted, settled=settled, maintenance=maintenance, sort=asked.order, limit=asked.limit, after=after
    )
    ids = [one.alert.alert_id for one in page.alerts]
    added = [asked.open] if asked.open is not None and asked.open not in ids else []
    read = await page_query.read_alerts(connection, [*added, *ids], wanted.tenant_id)
    alerts = page_query.in_windows(read, renderer.platform)
    opened = await _opened(connection, asked, alerts, who, now, settled, retention)
    return AlertList(
        rows=await _rows(connection, alerts, who, now, settled),
        next=page.next,
        numbers=await read_numbers(connection, wanted.tenant_id, settled, maintenance),
        opened=opened,
        places=await _places(connection, wanted.tenant_id),
        known=await newer(connection, wanted, now - SETTLING, settled, maintenance, ids),
    )


async def read_numbers(
    connection: Connection[Any], tenant_id: str | None, settled: datetime, maintenance: ActiveScopes
) -> TabNumbers:
    """Return the numbers beside the tabs."""
    unclosed = await store.counts(connection, tenant_id, settled=settled, maintenance=maintenance)
    return TabNumbers(unclosed, await store.count_closed(connection, tenant_id))


async def newer(
    connection: Connection[Any],
    wanted: AlertFilter,
    since: datetime,
    settled: datetime,
    maintenance: ActiveScopes,
    known: Sequence[int],
) -> list[int]:
    """Return the alerts that match and were created after ``since``, but for those that are ``known``; not all."""
    recent = await store.page(
        connection,
        replace(wanted, since=since if wanted.since is None else max(since, wanted.since)),
        settled=settled,
        maintenance=maintenance,
        sort=AlertSort.NEWEST,
        limit=MAX_KNOWN + len(known),
    )
    return [one.alert.alert_id for one in recent.alerts if one.alert.alert_id not in known]


async def _opened(
    connection: Connection[Any],
    asked: PageQuery,
    alerts: Sequence[AlertOnPage],
    who: Viewer,
    now: datetime,
    settled: datetime,
    retention: timedelta,
) -> OpenedAlert | None:
    """Return the alert that the address opens; one that is not on the page was put at its top."""
    if asked.open is None:
        return None
    one = next((one for one in alerts if one.alert.alert_id == asked.open), None)
    if one is None:
        return None
    return await open_alert(connection, one, who, now=now, settled=settled, retention=retention)


async def _rows(
    connection: Connection[Any],
    alerts: Sequence[AlertOnPage],
    who: Viewer,
    now: datetime,
    settled: datetime,
) -> list[ShownAlert]:
    """Return the rows with the line of the last day of each metric."""
    metrics = await page_query.read_metrics(connection, alerts)
    keys = [(one.alert.tenant_id, one.alert.device_id or "", one.metric or "") for one in alerts]
    series = await sparks.read(connection, keys, now)
    told = await page_query.read_told(connection, alerts)
    return [
        shown(one, metrics, who, now=now, settled=settled, told=told.get(one.alert.alert_id), spark=charts.spark(line))
        for one, line in zip(alerts, series, strict=True)
    ]


async def _places(connection: Connection[Any], tenant_id: str | None) -> list[tuple[str, str]]:
    places = await page_query.read_places(connection, tenant_id)
    # Sites of several tenants may have the same id, so a list of all tenants shows ids instead of names.
    names = {} if tenant_id is None else await sites.names(connection, tenant_id, places)
    return [(place or NO_SITE, names.get(place, place) or "No site") for place in places]


async def _answer(renderer: PageRenderer, asked: PageQuery, found: AlertList, fault: Invalid | None) -> Response:
    address, who, tab = Address.of_request(), viewer(), asked.tab
    if fault is not None:
        address = Address("/alerts", tuple(pair for pair in address.pairs if pair[0] == "tenant"))
    live = live_page(address, found, renderer.platform.access.now(), first=not asked.cursor)
    unfiltered = address.having(**dict.fromkeys(NARROWING, None), open=None)
    may_act = who.role in RESPONDERS
    return await renderer.page(
        "alerts/list.html",
        status=HTTPStatus.OK if fault is None else HTTPStatus.BAD_REQUEST,
        live_page=live,
        done=done_texts(),
        undo=undo.offered(who),
        live=False,
        news=0,
        fault=fault,
        asked=asked,
        tab=tab.value,
        sort=asked.order.value,
        open_alerts=found.numbers.unclosed.open,
        tabs=tab_links(address, tab, found.numbers),
        severities=severity_choices(tab, found.numbers),
        sites=found.places,
        types=[(one.value, label) for one, label in ALERT_TYPES.items()],
        sorts=[(one.value, label) for one, label in SORTS.items() if one is not usual_sort(tab)],
        usual_sort=SORTS[usual_sort(tab)],
        rows=found.rows,
        opened=found.opened,
        next=cursor.write(found.next),
        total=None if asked.narrows or asked.cursor else found.numbers.of(tab),
        caption=f"{TABS[tab]} alerts, {SORTS[asked.order].lower()}",
        narrowed=asked.narrows,
        unfiltered=unfiltered,
        any_alerts=found.numbers.of(AlertTab.ALL) > 0,
        most=MAX_PAGE_ROWS,
        may_act=may_act,
        may_make_rules=who.role in ADMINS,
        acting=any(one.takes_steps for one in found.rows),
        back=address.having(cursor=asked.cursor or None).query,
        to=to_step(who, address),
    )


def live_page(address: Address, found: AlertList, now: datetime, *, first: bool) -> str:
    """Return the name of the page's live parts: its own query, and what it shows.

    A later page of the list does not count new alerts because it would not show them.
    """
    rows = ".".join(str(one.alert_id) for one in found.rows)
    if not first:
        return f"{PAGE}/{address.having(rows=rows).query}"
    # With many alerts in these seconds, some of them may be missed or counted twice; that they are new is told anyway.
    crowded = len(found.known) >= MAX_KNOWN
    since = now if crowded else now - SETTLING
    known = "" if crowded else ".".join(map(str, found.known))
    return f"{PAGE}/{address.having(rows=rows, known=known, since=f'{since.timestamp():.6f}').query}"


def tab_links(address: Address, tab: AlertTab, numbers: TabNumbers) -> list[tuple[str, Address, bool, str]]:
    """Return the tabs: label, address, whether it is shown, number. Inhibited ones have a tab while there are any."""
    return [
        (
            label,
            address.having(tab=None if one is AlertTab.OPEN else one.value, open=None, sort=None),
            one is tab,
            numbers.text(one),
        )
        for one, label in TABS.items()
        if one is not AlertTab.INHIBITED or tab is one or numbers.of(one)
    ]


def severity_choices(tab: AlertTab, numbers: TabNumbers) -> list[tuple[str, str, str, int | None]]:
    """Return the severities of the filter: value, class, label, number."""
    return [(one.value, SEVERITY_CLASSES[one], one.value.capitalize(), numbers.severity(tab, one)) for one in Severity]


def done_texts() -> dict[str, str]:
    """Return the sentences of toasts; of a step with several alerts, with their number."""
    many = request.args.get("many", "")
    if many.isdecimal() and len(many) <= 4:
        alerts = "alert" if int(many) == 1 else "alerts"
        return {name: f"{int(many):,} {alerts} {word}." for name, word in MANY_DONE.items()}
    return DONE
