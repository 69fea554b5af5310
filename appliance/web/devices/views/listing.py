"""The list of devices: searched, filtered and sorted, page by page or as CSV; devices that wait for approval first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quart import Blueprint, Response

from appliance.clock import Clock
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet, sites, tenants
from appliance.devices.fleet import DeviceCounts, FleetDevice, FleetPosition
from appliance.devices.live.presence import Presence
from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.history import sparks
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access.auth import ADMINS, READERS, Viewer, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.devices import export, metric_values
from appliance.web.devices.labels import DEVICE_STATUSES, NONE
from appliance.web.devices.maintenance import InMaintenance, in_maintenance
from appliance.web.devices.metric_values import MetricValue
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.query import DeviceQuery, filter_of
from appliance.web.devices.seat_choices import subscriptions_of
from appliance.web.devices.views.alerts import OpenCount, open_counts
from appliance.web.devices.views.bulk import STEPS
from appliance.web.openapi.describe import query
from appliance.web.page import charts, csv, cursor
from appliance.web.page.away_peers import notices
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.paths import of_tenant, to_device
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.platform import Platform
from appliance.web.subscriptions.labels import subscription_title

VALUES_SHOWN = 2
"""Latest values in a row."""
LARGE_FLEET = 2000
"""Devices from which on counts are cached: counting so many takes too long for every page."""
COUNTS_MAX_AGE = 3.0
"""Seconds for which the counts of a large fleet are reused."""
MAX_SITES = 100
"""Sites in the filter; the search finds the others."""
MAX_CACHED = 100
"""Tenants whose counts are kept."""
LIVE_PAGE = "device-list"
MAX_LIVE_NAME = 4000
"""Characters of the name of a live list: it is in an address, which has 8 KiB at most."""
DONE = {
    "deleted": "The device is deleted.",
    "claim": "The claim user is closed.",
    "approved": "The device is approved.",
    "rejected": "The device is rejected.",
}


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device in the list. Times are seconds since 1970."""

    member: FleetDevice
    href: str
    site: str
    seen_at: float | None
    refused: ReasonLabel | None
    """Why its newest message was not accepted, if its presence is REFUSED."""
    values: Sequence[MetricValue]
    spark: str
    """The line of the last day of its first value."""
    spark_of: str
    alerts: OpenCount | None
    """Its open alerts, if it has any."""
    maintenance: InMaintenance | None

    @property
    def key(self) -> str:
        """Return what the ids of its parts end with."""
        return f"{self.member.device.tenant_id}:{self.member.device.device_id}"


@dataclass(frozen=True, slots=True)
class FilterChoices:
    """The options of the filters, each as (value, label, count, glyph)."""

    presences: Sequence[tuple[str, str, int, str]]
    statuses: Sequence[tuple[str, str, int, None]]
    sites: Sequence[tuple[str, str]]
    subscriptions: Sequence[tuple[str, str]]


def blueprint(renderer: PageRenderer, port: DevicesPort) -> Blueprint:
    """Return the routes of the list."""
    routes = Blueprint("devices", __name__)
    _add_list(routes, renderer, port)
    _add_close_claim(routes, renderer)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, port: DevicesPort) -> None:
    platform, access = renderer.platform, renderer.platform.access
    count_cache = DeviceCountCache(platform.clock)

    @routes.get("/devices")
    @allow(READERS)
    async def devices() -> Response:
        asked = query(DeviceQuery)
        tenant_id, who = tenants_shown(), viewer()
        sort, down = asked.order()
        wanted = filter_of(asked, tenant_id)
        if csv.asked_for():
            return export.answer(platform, who, wanted, sort, down=down)
        await platform.maintenance.refresh()
        async with access.reading() as connection:
            after = cursor.read(asked.cursor, FleetPosition)
            page = await fleet.list_page(connection, wanted, sort=sort, down=down, limit=asked.limit, after=after)
            counts = await count_cache.read(connection, tenant_id)
            rows = await read_rows(connection, page.members, who, platform, with_lines=True)
            open_claims = await fleet.open_claim_users(connection, tenant_id)
            owned = await subscriptions_of(connection, tenant_id)
            away = await renderer.away_peers.read_on(connection, who, tenant_id)
            # Sites of several tenants may have the same id, so a list of all tenants shows ids instead of names.
            site_names = {} if tenant_id is None else await sites.names(connection, tenant_id, counts.sites)
        return await renderer.page(
            "devices/list.html",
            done=DONE,
            live_page=live_page(rows, who, tenant_id),
            live=False,
            rows=rows,
            notices=notices(platform.affected(), away, access.now().timestamp(), who.zone),
            total=page.total,
            next=cursor.write(page.next),
            counts=counts,
            choices=_choices(counts, owned, site_names),
            open_claims=open_claims,
            flooders=port.flooders(tenant_id),
            may_change=may_change(who),
            steps=STEPS,
            statuses=DEVICE_STATUSES,
        )


def _add_close_claim(routes: Blueprint, renderer: PageRenderer) -> None:
    access = renderer.platform.access

    @routes.post("/devices/+close-claim")
    @allow(ADMINS)
    async def close_claim() -> Response:
        async with access.changing() as connection:
            await tenants.set_claim(connection, tenant_of(), access.context(), enabled=False)
        return see_other(of_tenant("/devices", viewer(), tenant_of(), done="claim"))


class DeviceCountCache:
    """Counts devices for the filters; counts of a large fleet are reused for COUNTS_MAX_AGE."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str | None, tuple[float, DeviceCounts]] = {}

    async def read(self, connection: Connection[Any], tenant_id: str | None) -> DeviceCounts:
        """Return the counts of a tenant, or for None of all."""
        moment = self._clock.monotonic()
        counted_at, known = self._known.get(tenant_id, (0.0, None))
        if known is not None and known.total >= LARGE_FLEET and moment - counted_at < COUNTS_MAX_AGE:
            return known
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        counts = await fleet.device_counts(connection, tenant_id)
        self._known[tenant_id] = (moment, counts)
        return counts


def live_page(rows: Sequence[DeviceRow], who: Viewer, tenant_id: str | None) -> str | None:
    """Return the name of the live parts of these rows; None if there are too many.

    It is the tenant and its devices, of all tenants each device with its own: ``acme/d1,d2``, ``/acme:d1,beta:d2``.
    """
    of = who.tenant_id or tenant_id
    names = (row.key if of is None else row.member.device.device_id for row in rows)
    name = f"{LIVE_PAGE}/{of or ''}/{','.join(names)}"
    return name if len(name) <= MAX_LIVE_NAME else None


async def read_rows(
    connection: Connection[Any], members: Sequence[FleetDevice], who: Viewer, platform: Platform, *, with_lines: bool
) -> list[DeviceRow]:
    """Return the rows of a page, with the labels of their metrics and, if asked for, the line of the first metric."""
    known: dict[str, dict[str, Metric]] = {}
    for tenant_id in {member.device.tenant_id for member in members}:
        mine = (member.latest for member in members if member.device.tenant_id == tenant_id)
        known[tenant_id] = await store.of_names(connection, tenant_id, metric_values.names(mine))
    shown = [metric_values.all_shown(member.latest, known[member.device.tenant_id]) for member in members]
    keys = [
        (member.device.tenant_id, member.device.device_id, of[0].metric.name if of and of[0].is_number else "")
        for member, of in zip(members, shown, strict=True)
    ]
    drawn = await sparks.read(connection, keys, platform.access.now()) if with_lines else [[]] * len(keys)
    lines = [charts.spark(series) for series in drawn]
    opened = await open_counts(connection, [(tenant_id, device_id) for tenant_id, device_id, _ in keys], who)
    return [
        _row(member, of, line, who, opened.get(key[:2]), in_maintenance(platform, member.device, who))
        for member, of, line, key in zip(members, shown, lines, keys, strict=True)
    ]


def _row(
    member: FleetDevice,
    shown: Sequence[MetricValue],
    line: str,
    who: Viewer,
    alerts: OpenCount | None,
    maintenance: InMaintenance | None,
) -> DeviceRow:
    device = member.device
    refused = member.presence is Presence.REFUSED and member.refused_reason is not None
    return DeviceRow(
        member=member,
        href=to_device(who, device.tenant_id, device.device_id),
        site=member.site_name or device.site_id or "",
        seen_at=None if member.last_seen_at is None else member.last_seen_at.timestamp(),
        refused=reason_label(member.refused_reason or "") if refused else None,
        values=shown[:VALUES_SHOWN],
        spark=line,
        spark_of=shown[0].metric.title if shown else "",
        alerts=alerts,
        maintenance=maintenance,
    )


def _choices(counts: DeviceCounts, owned: Sequence[Subscription], site_names: Mapping[str, str]) -> FilterChoices:
    glyphs = {
        Presence.ONLINE: ("Online", "g-on"),
        Presence.STALE: ("Stale", "g-stale"),
        Presence.OFFLINE: ("Offline", "g-off"),
        Presence.REFUSED: ("Refused", "g-medium"),
        Presence.NEW: ("Never heard", "g-new"),
    }
    titles = {row.subscription_id: subscription_title(row) for row in owned}
    return FilterChoices(
        [(one.value, glyphs[one][0], counts.presences[one], glyphs[one][1]) for one in Presence],
        [(one.value, DEVICE_STATUSES[one], number, None) for one, number in counts.statuses.items()],
        [(name or NONE, site_names.get(name, name) or "No site") for name in list(counts.sites)[:MAX_SITES]],
        [(name or NONE, titles.get(name, name) or "No seat") for name in counts.subscriptions],
    )
