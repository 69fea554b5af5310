"""The page of one device: what it measures over time, its newest messages, its seat, limit, credential and refusals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from appliance.broker.accounts import device_user
from appliance.broker.floods.record import Flooder
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import Credential
from appliance.devices.device import DeviceStatus, Event
from appliance.devices.fleet import FleetDevice
from appliance.devices.live import presence
from appliance.devices.live.presence import OFFLINE_INTERVALS, STALE_INTERVALS, PresenceThresholds
from appliance.ingest.quarantine import store as quarantine_store
from appliance.ingest.quarantine.store import Selection
from appliance.ingest.telemetry import messages
from appliance.ingest.telemetry.messages import Numbering
from appliance.reading import HELD_REASONS
from appliance.subscriptions.lifecycle import Subscription
from appliance.web.access.auth import READERS, Viewer, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.commands import Lines, lines
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.seat_choices import subscriptions_of
from appliance.web.devices.views.chart import DeviceChart, chart_of, metric_of
from appliance.web.devices.views.live import PAGE, DeviceNow, LiveDevices, read_now
from appliance.web.http.forwarding import own_url
from appliance.web.page import formats
from appliance.web.page.paths import device_of_path, of_tenant, to_device
from appliance.web.page.renderer import PageRenderer
from appliance.web.subscriptions.labels import subscription_title

BROKER_REFUSALS_SHOWN = 5
CLIENT_ID_WARNING_PERIOD = timedelta(hours=1)
"""How long the page warns of another client with the same client id."""
CLOCK_WARNING_PERIOD = timedelta(days=1)
"""How long the page warns of an impossible time."""
RECENT_PERIOD = timedelta(days=1)
"""The period over which readings and gaps in their numbers are counted."""
DONE = {
    "edited": "The device is saved.",
    "approved": "The device is approved.",
    "rejected": "The device is rejected.",
    "deactivated": "The device is deactivated.",
    "reactivated": "The device is active again.",
    "moved": "The device is moved.",
    "revoked": "The device is revoked.",
    "switched": "The new password is in use.",
    "pending": "Saved. The broker applies it in a moment.",
}


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What does not change by itself while the page is open."""

    credential: Credential | None
    subscription: Subscription | None
    subscription_name: str
    numbering: Numbering
    readings: int
    """Readings of RECENT_PERIOD; messages.COUNTED + 1 stands for more."""
    broker_refusals: Sequence[BrokerRefusal]
    flooder: Flooder | None
    """Its broker user, if that is shut out for what it sent."""
    client_id_rivals: Sequence[BrokerRefusal]
    """What the broker ended lately because two clients use one client id."""
    lines: Lines
    held: int
    """Messages of the device that are held for replay."""
    clock_warning: bool
    expected: str
    """Its interval and what follows from it, in words."""
    steps: Sequence[Event]
    """The lifecycle steps that its status allows."""


def blueprint(renderer: PageRenderer, port: DevicesPort) -> Blueprint:
    """Return the routes of the page, and register its live parts."""
    routes = Blueprint(PAGE, __name__)
    access = renderer.platform.access

    @routes.get("/devices/<device_id>")
    @allow(READERS)
    async def summary(device_id: str) -> Response:
        tenant_id, identity, who = tenant_of(), device_of_path(device_id), viewer()
        await renderer.platform.maintenance.refresh()
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

    renderer.live_pages.add_each(PAGE, LiveDevices(renderer, port).fragments)
    return routes


async def _chart(
    connection: Connection[Any], renderer: PageRenderer, port: DevicesPort, now: DeviceNow, zone: tzinfo | None
) -> DeviceChart | None:
    """Return the chart of the chosen metric, or None for a device that has never sent a number."""
    device = now.member.device
    metric = metric_of(request.args, now.numbers)
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
    """Return the address of the device's held messages, or of ``part``, a decision on them."""
    return of_tenant(f"/quarantine{part}", who, tenant_id, device=device_id)


async def _facts(
    connection: Connection[Any], renderer: PageRenderer, port: DevicesPort, member: FleetDevice
) -> DeviceFacts:
    device, moment = member.device, renderer.platform.access.now()
    tenant_id, device_id = device.tenant_id, device.device_id
    owned = await subscriptions_of(connection, tenant_id)
    subscription = next((row for row in owned if row.subscription_id == device.subscription_id), None)
    adjusted = member.ts_adjusted_at
    refused = port.broker_refusals(tenant_id, device_id)
    causes = await quarantine_store.counts(connection, Selection(tenant_id=tenant_id, device_id=device_id))
    credential = await credentials.get(connection, tenant_id, device_id)
    user = tenant_id if credential is None else device_user(tenant_id, device_id)
    return DeviceFacts(
        credential=credential,
        subscription=subscription,
        subscription_name="" if subscription is None else subscription_title(subscription),
        numbering=await messages.numbering(connection, tenant_id, device_id, moment - RECENT_PERIOD),
        readings=await messages.count_since(connection, tenant_id, device_id, moment - RECENT_PERIOD),
        broker_refusals=refused[:BROKER_REFUSALS_SHOWN],
        flooder=next((one for one in port.flooders(tenant_id) if one.user == user), None),
        client_id_rivals=_client_id_rivals(refused, moment.timestamp()),
        lines=lines(port.listener, tenant_id, device_id, own_url(renderer.platform.public_url), request.host),
        held=sum(cause.held for cause in causes if cause.reason in HELD_REASONS),
        clock_warning=adjusted is not None and moment - adjusted < CLOCK_WARNING_PERIOD,
        expected=_expected(member, await presence.limits(connection)),
        steps=_steps(device.status),
    )


def _client_id_rivals(refused: Sequence[BrokerRefusal], now: float) -> list[BrokerRefusal]:
    oldest = now - CLIENT_ID_WARNING_PERIOD.total_seconds()
    return [one for one in refused if one.cause is RefusalCause.CLIENT_ID and one.at > oldest]


def _expected(member: FleetDevice, thresholds: PresenceThresholds) -> str:
    interval = member.interval
    if interval is None:
        return "not known yet"
    source = "set by hand" if member.device.interval is not None else "learned from its messages"
    stale = formats.lasting(max(STALE_INTERVALS * interval, thresholds.stale_after))
    offline = formats.lasting(max(OFFLINE_INTERVALS * interval, thresholds.offline_after))
    return f"{formats.lasting(interval)}, {source}; stale after {stale}, offline after {offline}"


def _steps(status: DeviceStatus) -> list[Event]:
    steps = {
        DeviceStatus.PENDING: [Event.APPROVE, Event.REJECT],
        DeviceStatus.ACTIVE: [Event.MOVE, Event.DEACTIVATE],
        DeviceStatus.INACTIVE: [Event.REACTIVATE],
        DeviceStatus.REVOKED: [Event.REACTIVATE],
    }
    return steps.get(status, [])
