"""The parts of a device's page that change by themselves: its status, newest values, newest messages and limit.

Enters: the id of a device and a viewer. Leaves: :class:`DeviceNow` for the page, rendered parts for its live updates.
Never: more than one reading a second for each viewer and device, however many messages arrive, except when an alert
changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.fleet import FleetDevice
from appliance.devices.live.presence import Presence
from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.devices.topics import valid_id
from appliance.errors import NotFound
from appliance.history import sparks
from appliance.ingest.limits.terms import BucketState
from appliance.ingest.telemetry import messages
from appliance.peers import store as peers
from appliance.web.access.auth import Viewer
from appliance.web.devices import metric_values
from appliance.web.devices.maintenance import InMaintenance, in_maintenance
from appliance.web.devices.metric_values import MetricValue
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.views.alerts import DeviceAlerts, read_alerts
from appliance.web.devices.views.chart import metric_of
from appliance.web.devices.views.messages import MessageRow, message_rows
from appliance.web.live.parts import LivePart, NotNow
from appliance.web.page import charts
from appliance.web.page.away_peers import notice_of_device
from appliance.web.page.frame import Frame
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.live_read import live_read
from appliance.web.page.paths import to_device
from appliance.web.page.renderer import PageRenderer

log = structlog.get_logger(__name__)

PAGE = "device"
RECENT_MESSAGES = 8
"""Messages on the summary."""
STRIP_VALUES = 5
"""Values in the strip; the others are listed below it."""
READ_INTERVAL = 1.0
"""Seconds between two readings for a live page."""
MAX_CACHED = 64
"""Pages whose last reading is kept for READ_INTERVAL."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A value of the strip, with the line of its last day."""

    value: MetricValue
    href: str
    current: bool
    spark: str


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """What changes by itself and is read again for live updates."""

    member: FleetDevice
    tiles: Sequence[Tile]
    others: Sequence[MetricValue]
    messages: Sequence[MessageRow]
    limit: BucketState
    seen_at: float | None
    refused: ReasonLabel | None
    """Why its newest message was not accepted."""
    alerts: DeviceAlerts
    away: str | None
    """The notice that the appliance is away that heard it last, if it is."""
    maintenance: InMaintenance | None

    @property
    def numbers(self) -> dict[str, Metric]:
        """The metrics of which a chart can be drawn, by name, those of the strip first."""
        shown = [*(tile.value for tile in self.tiles), *self.others]
        return {one.metric.name: one.metric for one in shown if one.is_number}


class LiveDevices:
    """Renders the live parts of devices' pages; reads each page at most once in READ_INTERVAL."""

    PARTS: Mapping[str, bool] = {
        "device-state": False,
        "device-seen": False,
        "device-messages": True,
        "device-limit": True,
        "device-first": False,
        "device-away": True,
        "device-alerts": False,
        "device-recent-alerts": True,
    }
    """Element id, and whether the part is calm. Each part is a template of that name in templates/devices/."""

    def __init__(self, renderer: PageRenderer, port: DevicesPort) -> None:
        self._renderer = renderer
        self._port = port
        self._cached: dict[tuple[Viewer, str], tuple[float, int, list[LivePart]]] = {}

    async def fragments(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of ``TENANT/DEVICE``, or none if the device does not exist or is another tenant's.

        Raises NotNow while Postgres does not answer.
        """
        moment, woken = self._renderer.platform.clock.monotonic(), self._renderer.platform.live.woken
        read_at, read_woken, cached = self._cached.get((seen_by, which), (-READ_INTERVAL, woken, []))
        if moment - read_at < READ_INTERVAL and read_woken == woken:
            return cached
        if len(self._cached) >= MAX_CACHED:
            self._cached.clear()
        fresh = await self._read(seen_by, which)
        self._cached[seen_by, which] = (moment, woken, fresh)
        return fresh

    async def _read(self, seen_by: Viewer, which: str) -> list[LivePart]:
        tenant_id, _, device_id = which.partition("/")
        if not (valid_id(tenant_id) and valid_id(device_id)):
            return []
        away = self._renderer.platform.health().postgres
        if away is not None:
            raise NotNow(away)
        try:
            with live_read():
                await self._renderer.platform.maintenance.refresh()
                async with self._renderer.platform.access.reading(seen_by) as connection:
                    now = await read_now(connection, self._renderer, self._port, seen_by, tenant_id, device_id, {})
        except NotFound as error:
            log.debug("live page without its device", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path=f"/devices/{device_id}", live_page=f"{PAGE}/{which}")
        return [*self._rendered(frame, now), *await self._renderer.live_nav_counts(seen_by, tenant_id)]

    def _rendered(self, frame: Frame, now: DeviceNow) -> list[LivePart]:
        render, device = self._renderer.templates.render, now.member.device
        to = partial(to_device, frame.viewer, device.tenant_id, device.device_id)
        parts = [
            LivePart(name, render(f"devices/{name}.html", frame=frame, now=now, to=to), calm)
            for name, calm in self.PARTS.items()
        ]
        values = [
            LivePart(f"value-{index}", render("devices/value-now.html", tile=tile, index=index), calm=True)
            for index, tile in enumerate(now.tiles)
        ]
        return parts + values


async def read_now(
    connection: Connection[Any],
    renderer: PageRenderer,
    port: DevicesPort,
    who: Viewer,
    tenant_id: str,
    device_id: str,
    arguments: Mapping[str, str],
) -> DeviceNow:
    """Return what changes by itself of a device. ``arguments`` are those of the page's address, for its chart.

    Raises NotFound; Invalid, naming the field, for a wrong argument.
    """
    member = await fleet.get(connection, tenant_id, device_id)
    known = await store.of_names(connection, tenant_id, member.latest)
    shown = metric_values.all_shown(member.latest, known)
    page = await messages.page(connection, tenant_id, device_id, limit=RECENT_MESSAGES)
    strip = [one for one in shown if one.is_number][:STRIP_VALUES]
    chosen = metric_of(arguments, {one.metric.name: one.metric for one in shown if one.is_number})
    keys = [(tenant_id, device_id, one.metric.name) for one in strip]
    series = await sparks.read(connection, keys, renderer.platform.access.now())
    kept = {name: arguments[name] for name in ("range", "from", "to") if arguments.get(name)}
    refused = member.presence is Presence.REFUSED and member.refused_reason is not None
    return DeviceNow(
        member=member,
        tiles=[
            Tile(
                one,
                to_device(who, tenant_id, device_id, m=one.metric.name, **kept) + "#chart",
                chosen is not None and one.metric.name == chosen.name,
                charts.spark(line),
            )
            for one, line in zip(strip, series, strict=True)
        ],
        others=[one for one in shown if one not in strip],
        messages=message_rows(page),
        limit=port.limit_of(
            tenant_id,
            device_id,
            await fleet.allowance_full_at(connection, tenant_id, device_id),
            member.created_at,
        ),
        seen_at=None if member.last_seen_at is None else member.last_seen_at.timestamp(),
        refused=reason_label(member.refused_reason or "") if refused else None,
        alerts=await read_alerts(connection, renderer.platform, who, tenant_id, device_id),
        away=await _away(connection, renderer, who, tenant_id, device_id),
        maintenance=in_maintenance(renderer.platform, member.device, who),
    )


async def _away(
    connection: Connection[Any], renderer: PageRenderer, who: Viewer, tenant_id: str, device_id: str
) -> str | None:
    """Return the notice of the peer that is away and heard the device last, or None."""
    away = {peer.instance: peer for peer in await renderer.away_peers.read_on(connection, who, tenant_id)}
    peer = away.get(await peers.heard_device(connection, tenant_id, device_id) or "") if away else None
    return None if peer is None else notice_of_device(peer, renderer.platform.clock.now(), who.zone)
