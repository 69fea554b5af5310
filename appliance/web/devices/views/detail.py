"""One device: how it is, what it measures over time, its messages and refusals, its seat, limit and credential."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from functools import partial
from typing import Any

import msgspec
import structlog
import trio
from quart import Blueprint, Response, request

from appliance.broker.refusals import BrokerRefusal
from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import Credential
from appliance.devices.device import DeviceStatus, Event
from appliance.devices.fleet import FleetDevice
from appliance.devices.live import presence
from appliance.devices.live.presence import OFFLINE_INTERVALS, STALE_INTERVALS, Presence, PresenceThresholds
from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.errors import NotFound
from appliance.history import sparks
from appliance.ingest.limits.limiter import BucketState
from appliance.ingest.quarantine import store as quarantine_store
from appliance.ingest.quarantine.store import Selection
from appliance.ingest.telemetry import messages
from appliance.ingest.telemetry.messages import MessagePage, MessagePosition, Numbering, RefusedMessage, StoredReading
from appliance.mqtt.topics import valid_id
from appliance.reading import HELD_REASONS
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access.auth import READERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices import metric_values
from appliance.web.devices.commands import Lines, lines
from appliance.web.devices.metric_values import MetricValue
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.views.chart import DeviceChart, chart_of, metric_of
from appliance.web.devices.views.listing import may_change, subscriptions_of
from appliance.web.live.parts import LivePart, NotNow
from appliance.web.page import charts, cursor, formats
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.frame import Frame
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.paths import device_of_path, of_tenant, to_device
from appliance.web.page.renderer import PageRenderer
from appliance.web.quarantine.payload import blackened
from appliance.web.subscriptions.labels import subscription_title

log = structlog.get_logger(__name__)

PAGE = "device"
RECENT = 8
"""Messages on the summary."""
MESSAGES = 50
"""Messages on a page of their own."""
STRIP = 5
"""Values in the strip; the others stand below it."""
DOOR_SHOWN = 5
CLOCK_WARNS = timedelta(days=1)
"""How long an impossible time is warned of."""
LATELY = timedelta(days=1)
READ_EVERY = 1.0
"""Seconds between two readings for a live page."""
MAX_KNOWN = 64
"""Pages whose last reading is kept for that long."""
LIVE_PATIENCE = 1.0
"""Seconds that a live update waits for Postgres."""
PAYLOAD_SHOWN = 160
"""Characters of a message in a row."""
DONE = {
    "edited": "The device is described anew.",
    "approved": "The device is approved.",
    "rejected": "The device is turned away.",
    "deactivated": "The device is deactivated.",
    "reactivated": "The device is active again.",
    "moved": "The device has moved.",
    "revoked": "The device is shut out.",
    "switched": "The new password has taken over.",
    "pending": "It is done here; the broker will know in a moment.",
}


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in words. Times are seconds since 1970."""

    received_at: float
    kind: str
    text: str
    delay: float | None
    """Seconds on the way, where the device gave the time."""
    notes: Sequence[str]
    refused: ReasonLabel | None
    detail: str = ""
    event_id: int | None = None
    """Of a refused one, in quarantine."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A value of the strip, with the line of its last day."""

    value: MetricValue
    href: str
    current: bool
    spark: str


@dataclass(frozen=True, slots=True)
class Now:
    """What changes by itself: read again for the live view."""

    member: FleetDevice
    tiles: Sequence[Tile]
    others: Sequence[MetricValue]
    messages: Sequence[MessageRow]
    limit: BucketState
    seen_at: float | None
    refused: ReasonLabel | None
    """Why its newest message was not accepted."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands still meanwhile."""

    credential: Credential | None
    subscription: Subscription | None
    subscription_name: str
    numbering: Numbering
    readings: int
    """Of the last day, messages.COUNTED + 1 standing for more."""
    door: Sequence[BrokerRefusal]
    lines: Lines
    held: int
    """Messages of it that wait in quarantine for what may still come."""
    clock_warning: bool
    expected: str
    """Its interval and what follows from it, in words."""
    steps: Sequence[Event]
    """What may be done to it in its status."""


def blueprint(renderer: PageRenderer, port: DevicesPort) -> Blueprint:
    """The routes of the page and its live parts."""
    routes = Blueprint(PAGE, __name__)
    access = renderer.platform.access

    @routes.get("/devices/<device_id>")
    @allow(READERS)
    async def summary(device_id: str) -> Response:
        tenant_id, identity, who = tenant_of(), device_of_path(device_id), viewer()
        async with access.reading() as connection:
            now = await read_now(connection, renderer, port, who, tenant_id, identity, request.args)
            facts = await _facts(connection, renderer, port, now.member)
            chart = await _chart(connection, renderer, port, now, who.zone)
        return await renderer.page(
            "devices/device.html",
            live_page=f"{PAGE}/{tenant_id}/{identity}",
            done=DONE,
            now=now,
            facts=facts,
            chart=chart,
            most=messages.COUNTED,
            may_change=may_change(who),
            to=partial(to_device, who, tenant_id, identity),
            sites=of_tenant(f"/sites/{now.member.device.site_id}", who, tenant_id),
            back=of_tenant("/devices", who, tenant_id),
            held=partial(_to_held, who, tenant_id, identity),
        )

    @routes.get("/devices/<device_id>/messages")
    @allow(READERS)
    async def all_messages(device_id: str) -> Response:
        tenant_id, identity, who = tenant_of(), device_of_path(device_id), viewer()
        place = cursor.read(request.args.get("cursor"), MessagePosition)
        async with access.reading() as connection:
            member = await fleet.get(connection, tenant_id, identity)
            page = await messages.page(connection, tenant_id, identity, limit=MESSAGES, after=place)
        return await renderer.page(
            "devices/messages.html",
            member=member,
            messages=in_words(page),
            next=cursor.write(page.next),
            to=partial(to_device, who, tenant_id, identity),
            back=of_tenant("/devices", who, tenant_id),
        )

    renderer.live_pages.add_each(PAGE, LiveDevices(renderer, port).fragments)
    return routes


class LiveDevices:
    """The parts of devices' pages that change by themselves, read once a second however much comes in."""

    PARTS: Mapping[str, bool] = {
        "device-state": False,
        "device-seen": False,
        "device-messages": True,
        "device-limit": True,
        "device-first": False,
    }
    """By element id, and whether each is calm. Each is a template of its own in templates/device/."""

    def __init__(self, renderer: PageRenderer, port: DevicesPort) -> None:
        self._renderer = renderer
        self._port = port
        self._known: dict[tuple[Viewer, str], tuple[float, list[LivePart]]] = {}

    async def fragments(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """The parts of ``TENANT/DEVICE`` for a viewer; none of a device that is not there, or is another tenant's."""
        moment = self._renderer.platform.clock.monotonic()
        read_at, known = self._known.get((seen_by, which), (-READ_EVERY, []))
        if moment - read_at < READ_EVERY:
            return known
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        fresh = await self._read(seen_by, which)
        self._known[seen_by, which] = (moment, fresh)
        return fresh

    async def _read(self, seen_by: Viewer, which: str) -> list[LivePart]:
        tenant_id, _, device_id = which.partition("/")
        if not (valid_id(tenant_id) and valid_id(device_id)):
            return []
        away = self._renderer.platform.health().postgres
        if away is not None:
            raise NotNow(away)
        try:
            with trio.fail_after(LIVE_PATIENCE):
                async with self._renderer.platform.access.reading(seen_by) as connection:
                    now = await read_now(connection, self._renderer, self._port, seen_by, tenant_id, device_id, {})
        except NotFound as error:
            log.debug("live page without its device", error=str(error))
            return []
        except POSTGRES_AWAY as error:
            raise NotNow(str(error)) from error
        frame = self._renderer.frame(seen_by, path=f"/devices/{device_id}", live_page=f"{PAGE}/{which}")
        return [*self._rendered(frame, now), *await self._renderer.live_tallies(seen_by, tenant_id)]

    def _rendered(self, frame: Frame, now: Now) -> list[LivePart]:
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
) -> Now:
    """What changes by itself of a device. Raises NotFound; Invalid, naming the field, for a wrong argument."""
    member = await fleet.get(connection, tenant_id, device_id)
    known = await store.of_names(connection, tenant_id, member.latest)
    shown = metric_values.all_shown(member.latest, known)
    page = await messages.page(connection, tenant_id, device_id, limit=RECENT)
    strip = [one for one in shown if one.is_number][:STRIP]
    picked = metric_of(arguments, {one.metric.name: one.metric for one in shown if one.is_number})
    keys = [(tenant_id, device_id, one.metric.name) for one in strip]
    series = await sparks.read(connection, keys, renderer.platform.access.now())
    kept = {name: arguments[name] for name in ("range", "from", "to") if arguments.get(name)}
    refused = member.presence is Presence.REFUSED and member.refused_reason is not None
    return Now(
        member=member,
        tiles=[
            Tile(
                one,
                to_device(who, tenant_id, device_id, m=one.metric.name, **kept) + "#chart",
                picked is not None and one.metric.name == picked.name,
                charts.spark(line),
            )
            for one, line in zip(strip, series, strict=True)
        ],
        others=[one for one in shown if one not in strip],
        messages=in_words(page),
        limit=port.limit_of(tenant_id, device_id),
        seen_at=None if member.last_seen_at is None else member.last_seen_at.timestamp(),
        refused=reason_label(member.refused_reason or "") if refused else None,
    )


def in_words(page: MessagePage) -> list[MessageRow]:
    """Messages as a person reads them."""
    return [_stored(one) if isinstance(one, StoredReading) else _refused(one) for one in page.messages]


async def _chart(
    connection: Connection[Any], renderer: PageRenderer, port: DevicesPort, now: Now, zone: tzinfo | None
) -> DeviceChart | None:
    """The chart of the metric that is picked; None for a device that has never sent a number."""
    device = now.member.device
    metric = metric_of(request.args, _numbers(now))
    if metric is None:
        return None
    moment = renderer.platform.access.now()
    return await chart_of(
        connection,
        device.tenant_id,
        device.device_id,
        metric,
        request.args.to_dict(),
        now=moment,
        zone=zone,
        oldest_reading=moment - timedelta(days=port.retention_days),
    )


def _to_held(who: Viewer, tenant_id: str, device_id: str, part: str = "") -> str:
    """Where the held messages of a device are, or what is decided on them."""
    return of_tenant(f"/quarantine{part}", who, tenant_id, device=device_id)


def _numbers(now: Now) -> dict[str, Metric]:
    """The metrics that a chart can be drawn of, those of the strip first."""
    shown = [*(tile.value for tile in now.tiles), *now.others]
    return {one.metric.name: one.metric for one in shown if one.is_number}


async def _facts(connection: Connection[Any], renderer: PageRenderer, port: DevicesPort, member: FleetDevice) -> Facts:
    device, moment = member.device, renderer.platform.access.now()
    tenant_id, device_id = device.tenant_id, device.device_id
    owned = await subscriptions_of(connection, tenant_id)
    subscription = next((row for row in owned if row.subscription_id == device.subscription_id), None)
    adjusted = member.ts_adjusted_at
    causes = await quarantine_store.counts(connection, Selection(tenant_id=tenant_id, device_id=device_id))
    return Facts(
        credential=await credentials.get(connection, tenant_id, device_id),
        subscription=subscription,
        subscription_name="" if subscription is None else subscription_title(subscription),
        numbering=await messages.numbering(connection, tenant_id, device_id, moment - LATELY),
        readings=await messages.count_since(connection, tenant_id, device_id, moment - LATELY),
        door=port.broker_refusals(tenant_id, device_id)[:DOOR_SHOWN],
        lines=lines(port.listener, tenant_id, device_id, request.scheme, request.host),
        held=sum(cause.held for cause in causes if cause.reason in HELD_REASONS),
        clock_warning=adjusted is not None and moment - adjusted < CLOCK_WARNS,
        expected=_expected(member, await presence.limits(connection)),
        steps=_steps(device.status),
    )


def _expected(member: FleetDevice, limits: PresenceThresholds) -> str:
    interval = member.interval
    if interval is None:
        return "not known yet"
    source = "set by hand" if member.device.interval is not None else "learned from its messages"
    stale = formats.lasting(max(STALE_INTERVALS * interval, limits.stale_after))
    offline = formats.lasting(max(OFFLINE_INTERVALS * interval, limits.offline_after))
    return f"{formats.lasting(interval)}, {source}; stale after {stale}, offline after {offline}"


def _steps(status: DeviceStatus) -> list[Event]:
    steps = {
        DeviceStatus.PENDING: [Event.APPROVE, Event.REJECT],
        DeviceStatus.ACTIVE: [Event.MOVE, Event.DEACTIVATE],
        DeviceStatus.INACTIVE: [Event.REACTIVATE],
        DeviceStatus.REVOKED: [Event.REACTIVATE],
    }
    return steps.get(status, [])


def _stored(reading: StoredReading) -> MessageRow:
    notes = []
    if reading.ts_adjusted:
        notes.append("impossible time")
    if reading.late:
        notes.append("late")
    delay = None if reading.ts == reading.received_at or reading.ts_adjusted else reading.delay
    return MessageRow(reading.received_at.timestamp(), reading.kind.value, _rebuilt(reading), delay, notes, None)


def _rebuilt(reading: StoredReading) -> str:
    """The message as it may have been: its bytes are not kept."""
    parts: dict[str, Any] = dict(reading.metrics)
    if reading.seq is not None:
        parts["seq"] = reading.seq
    if reading.lat is not None and reading.lng is not None:
        parts |= {"lat": reading.lat, "lng": reading.lng}
    return msgspec.json.encode(parts).decode()


def _refused(message: RefusedMessage) -> MessageRow:
    text = blackened(message.payload_start).decode("utf-8", "replace")
    shown = "".join(one if one.isprintable() else "\N{MIDDLE DOT}" for one in text[:PAYLOAD_SHOWN])
    return MessageRow(
        received_at=message.at.astimezone(UTC).timestamp(),
        kind=message.kind or "",
        text=shown,
        delay=None,
        notes=[],
        refused=reason_label(message.reason),
        detail=message.detail,
        event_id=message.event_id,
    )
