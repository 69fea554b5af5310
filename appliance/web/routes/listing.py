"""The rows of the list of routes, in the order in which they are tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations import counts
from appliance.delivery.integrations import store as integration_store
from appliance.delivery.integrations.counts import NONE, Deliveries, DeliveryCounts
from appliance.delivery.integrations.store import IntegrationFilter, KnownIntegration
from appliance.delivery.routes import store
from appliance.delivery.routes.route import DeliverOn, Route
from appliance.delivery.routes.store import KnownRoute, RouteFilter, RoutePosition
from appliance.delivery.senders.sender import Sender
from appliance.devices import sites as site_store
from appliance.web.access.auth import Viewer, viewer
from appliance.web.deliveries.page_query import usual_total
from appliance.web.integrations import labels as integration_labels
from appliance.web.integrations.labels import Health
from appliance.web.page import cursor, formats
from appliance.web.page.paths import of_tenant
from appliance.web.platform import Platform

PATH = "/routes"
PAGE_ROWS = 200
MAX_INTEGRATIONS = 1000
"""Integrations whose health is shown; of more tenants than these belong to, operators choose one."""
SHOWN = 2
"""Sites, tags and starts of ids that are named; more are counted."""
STEPS = {DeliverOn.OPEN: "opened", DeliverOn.ACKNOWLEDGED: "acknowledged", DeliverOn.CLOSED: "closed"}


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route in the list."""

    known: KnownRoute
    icon: str
    where: str
    sends: str
    state: Health
    counted: Deliveries
    href: str
    switch: str
    deliveries: str
    failed: str


@dataclass(frozen=True, slots=True)
class RouteList:
    """A page of the list."""

    rows: Sequence[RouteRow]
    counts: DeliveryCounts
    deliveries: int
    """How many the page of deliveries lists."""
    integrations: Sequence[KnownIntegration]
    only: KnownIntegration | None
    """The integration that the list is narrowed to."""
    next: str | None


async def read(
    platform: Platform,
    senders: Mapping[str, Sender],
    after: str,
    who: Viewer,
    tenant_id: str | None,
    integration_id: UUID | None = None,
) -> RouteList:
    """Return a page of the routes of a tenant, or of all. Raises Invalid for a cursor of something else."""
    access = platform.access
    position = cursor.read(after, RoutePosition)
    async with access.reading(who) as connection:
        wanted = RouteFilter(tenant_id, integration_id)
        found = await store.list_page(connection, wanted, limit=PAGE_ROWS + 1, after=position)
        known = await integration_store.list_page(connection, IntegrationFilter(tenant_id), limit=MAX_INTEGRATIONS)
        goes = await counts.read(connection, tenant_id, access.now())
        told = await usual_total(connection, tenant_id, access.now())
        sites = await _site_names(connection, found)
    following = found[PAGE_ROWS - 1].position if len(found) > PAGE_ROWS else None
    integrations = {one.integration.integration_id: one for one in known}
    now = platform.clock.now()
    rows = [
        _row(one, integrations.get(one.route.integration_id), senders, goes, sites[one.route.tenant_id], who, now)
        for one in found[:PAGE_ROWS]
    ]
    only = None if integration_id is None else integrations.get(integration_id)
    return RouteList(rows, goes, told, known, only, cursor.write(following))


def at(known: KnownRoute, part: str = "", who: Viewer | None = None) -> str:
    """Return the address of a route, or of what is done to it, for the viewer of the request if no other is given."""
    return of_tenant(f"{PATH}/{known.route.route_id}{part}", who or viewer(), known.route.tenant_id)


def sends(route: Route, sites: Mapping[str, str]) -> str:
    """Return what a route tells: ``opened, closed, 2 sites``; ``on close, device BGO-FRZ``."""
    if len(route.deliver_on) == len(STEPS):
        steps = "all steps"
    elif tuple(route.deliver_on) == (DeliverOn.CLOSED,):
        steps = "on close"
    else:
        steps = ", ".join(STEPS[one] for one in route.deliver_on)
    named = [
        _named([sites.get(one, one) for one in route.site_ids], "sites"),
        _named([f"device {one}" for one in route.device_prefixes], "starts of ids"),
        _named([f"tag {one}" for one in route.tags], "tags"),
    ]
    types = f"{len(route.alert_types)} type{'s' if len(route.alert_types) != 1 else ''}" if route.alert_types else ""
    scope = [one for one in named if one] or ["all sites"]
    return ", ".join(filter(None, [steps, types, *scope]))


def _row(
    known: KnownRoute,
    integration: KnownIntegration | None,
    senders: Mapping[str, Sender],
    goes: DeliveryCounts,
    sites: Mapping[str, str],
    who: Viewer,
    now: float,
) -> RouteRow:
    route = known.route
    sender = senders.get(known.integration_type or "")
    counted = goes.of_route.get(route.route_id, NONE)
    label = known.integration_type or "no integration" if sender is None else sender.label
    named = known.integration_name if known.integration_name != route.name else None
    where = f"{label}, {named}" if named else label
    later = f", after {formats.lasting(route.delay_seconds)}" if route.delay_seconds else ""
    health = None
    if integration is not None:
        identity = integration.integration.integration_id
        of_all = goes.of_integration.get(identity, NONE)
        health = integration_labels.health(integration, goes.breakers.get(identity), of_all, now, who.zone)
    return RouteRow(
        known,
        "i-waypoints" if sender is None else sender.icon,
        where + later,
        sends(route, sites),
        _state(route, health, counted),
        counted,
        at(known, who=who),
        at(known, "/switch", who),
        of_tenant("/deliveries", who, route.tenant_id, route_id=str(route.route_id)),
        of_tenant("/deliveries", who, route.tenant_id, route_id=str(route.route_id), state="dead"),
    )


def _state(route: Route, health: Health | None, counted: Deliveries) -> Health:
    """Return how a route is: Working, failing since, waiting, or off."""
    if not route.enabled:
        return Health("Off", glyph="g-idle")
    if health is None:
        return Health("Leads nowhere", kind="crit")
    if health.glyph == "g-idle":
        return Health("Off, 410 Gone" if "410" in health.sub else "Off, as its integration", glyph="g-idle")
    if health.failing:
        return Health(health.text, kind="crit")
    if counted.waiting:
        return Health(f"{formats.count(counted.waiting)} waiting", kind="medium")
    return Health(health.text, kind=health.kind, glyph=health.glyph)


def _named(names: Sequence[str], many: str) -> str:
    return f"{len(names)} {many}" if len(names) >= SHOWN else ", ".join(names)


async def _site_names(connection: Connection[Any], routes: Sequence[KnownRoute]) -> dict[str, dict[str, str]]:
    """Return the names of the sites that routes are about, by tenant."""
    named: dict[str, set[str]] = {one.route.tenant_id: set() for one in routes}
    for one in routes:
        named[one.route.tenant_id] |= set(one.route.site_ids)
    return {tenant_id: await site_store.names(connection, tenant_id, ids) for tenant_id, ids in named.items()}
