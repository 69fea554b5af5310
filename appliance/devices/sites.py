"""Sites: created when a device first names them, described by people afterwards.

Changes have their audit row in the same transaction; the role may be ``appliance_web`` with its tenant set.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from appliance import zones
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import IDENTIFIER, MAX_TEXT, DeviceFault
from appliance.devices.seats.changes import check_tenant
from appliance.devices.site_ids import mentioned_site
from appliance.errors import Conflict, Outdated
from appliance.plain_text import is_plain

STATEMENTS = statements.load("sites")

FIELDS = ("name", "time_zone", "lat", "lng")


@dataclass(frozen=True, slots=True)
class Site:
    """The description of a site by people; None leaves a field open."""

    site_id: str
    name: str | None = None
    time_zone: str | None = None
    """None: that of the tenant."""
    lat: float | None = None
    """Degrees north; a site has both or none."""
    lng: float | None = None
    """Degrees east."""

    @property
    def title(self) -> str:
        """Return the name, else the id."""
        return self.name or self.site_id


@dataclass(frozen=True, slots=True)
class TenantSite:
    """A site in the database, and the number of its devices."""

    tenant_id: str
    site: Site
    zone: str
    """The time zone in force: its own, else the tenant's."""
    devices: int
    version: datetime
    """When it was last changed; an edit names the version it started from."""


async def list_page(
    connection: Connection[Any], tenant_id: str | None, *, limit: int, after: tuple[str, str] | None = None
) -> list[TenantSite]:
    """Return the sites of a tenant, or of all for None, by tenant and id, after the position ``after``."""
    after_tenant, after_site = after or (None, None)
    parameters = {"tenant": tenant_id, "after_tenant": after_tenant, "after_site": after_site, "limit": limit}
    cursor = await connection.execute(STATEMENTS["list_sites"], parameters, prepare=False)
    return [_placed(row) for row in await cursor.fetchall()]


async def get(connection: Connection[Any], tenant_id: str, site_id: str) -> TenantSite:
    """Return one site. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["select_site"], {"tenant": tenant_id, "site": site_id})
    return _placed(require(await cursor.fetchone(), f"site {site_id}"))


async def names(connection: Connection[Any], tenant_id: str, site_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of those of ``site_ids`` that have one, by id."""
    parameters = {"tenant": tenant_id, "sites": sorted(set(site_ids))}
    cursor = await connection.execute(STATEMENTS["select_site_names"], parameters)
    return dict(await cursor.fetchall())


async def create(connection: Connection[Any], tenant_id: str, site: Site, context: ChangeContext) -> TenantSite:
    """Create a site before any device names it. Raises Invalid with the field; Conflict if it exists; NotFound."""
    site = _checked(site, None)
    async with connection.transaction():
        await check_tenant(connection, tenant_id)
        cursor = await connection.execute(STATEMENTS["insert_site"], _parameters(tenant_id, site, context))
        if not cursor.rowcount:
            raise Conflict(f"Site {site.site_id} already exists.")
        await record(connection, _entry(context, "create", tenant_id, None, site), now=context.now)
        return await get(connection, tenant_id, site.site_id)


async def change(
    connection: Connection[Any], tenant_id: str, site: Site, context: ChangeContext, *, version: datetime | None = None
) -> TenantSite:
    """Replace the whole description of a site.

    Raises Invalid with the field; NotFound; Conflict when somebody else has changed it since ``version``.
    """
    async with connection.transaction():
        before = await _locked(connection, tenant_id, site.site_id)
        site = _checked(site, before.site.time_zone)
        if version is not None and version != before.version:
            raise Outdated(f"Site {site.site_id} was changed by someone else; reload the page.")
        if before.site == site:
            return before
        await connection.execute(STATEMENTS["update_site"], _parameters(tenant_id, site, context))
        await record(connection, _entry(context, "update", tenant_id, before.site, site), now=context.now)
        return await get(connection, tenant_id, site.site_id)


async def delete(connection: Connection[Any], tenant_id: str, site_id: str, context: ChangeContext) -> None:
    """Delete a site without devices. Raises NotFound; Conflict while it has devices."""
    async with connection.transaction():
        before = await _locked(connection, tenant_id, site_id)
        if before.devices:
            raise Conflict(_still_there(site_id, before.devices))
        cursor = await connection.execute(STATEMENTS["delete_site"], {"tenant": tenant_id, "site": site_id})
        require_rows(cursor.rowcount, f"site {site_id}")
        await record(connection, _entry(context, "delete", tenant_id, before.site, None), now=context.now)


async def mention(connection: Connection[Any], mentions: Iterable[tuple[str, str | None]], now: datetime) -> None:
    """Create sites that devices call by a name, as (tenant, text of the message), before a device row names their ids.

    A site whose text is its id is created by the device row itself.
    """
    named = {(tenant_id, *mentioned_site(text)) for tenant_id, text in mentions if text is not None}
    listed = sorted((tenant_id, site_id, name) for tenant_id, site_id, name in named if name is not None)
    if listed:
        tenants, ids, texts = (list(column) for column in zip(*listed, strict=True))
        parameters = {"tenants": tenants, "sites": ids, "names": texts, "now": now}
        await connection.execute(STATEMENTS["mention_sites"], parameters)


def fault_of(site: Site, kept_zone: str | None) -> DeviceFault | None:
    """Return what is wrong with a site that takes the place of one with ``kept_zone``; None if it is valid."""
    if not IDENTIFIER.fullmatch(site.site_id):
        return DeviceFault("site_id", "a site id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot")
    if site.name is not None and (not 1 <= len(site.name) <= MAX_TEXT or not is_plain(site.name)):
        return DeviceFault("name", f"a name has 1 to {MAX_TEXT} characters on one line, all of which can be seen")
    zone_fault = None if site.time_zone is None else zones.fault_of(site.time_zone, kept_zone)
    if zone_fault is not None:
        return DeviceFault("time_zone", zone_fault)
    if (site.lat is None) is not (site.lng is None):
        return DeviceFault("lat" if site.lat is None else "lng", "a position has a latitude and a longitude")
    if site.lat is not None and not -90 <= site.lat <= 90:
        return DeviceFault("lat", "a latitude is a number from -90 to 90")
    if site.lng is not None and not -180 <= site.lng <= 180:
        return DeviceFault("lng", "a longitude is a number from -180 to 180")
    return None


def _checked(site: Site, kept_zone: str | None) -> Site:
    """Return the site as it is stored: by the present name of its zone. Raises Invalid with the field."""
    fault = fault_of(site, kept_zone)
    if fault is not None:
        raise fault.error()
    return site if site.time_zone is None else replace(site, time_zone=zones.stored(site.time_zone))


def _still_there(site_id: str, devices: int) -> str:
    which, them = ("1 device is", "it") if devices == 1 else (f"{devices} devices are", "them")
    return f"{which} at site {site_id}; move {them} to another site first."


async def _locked(connection: Connection[Any], tenant_id: str, site_id: str) -> TenantSite:
    cursor = await connection.execute(STATEMENTS["lock_site"], {"tenant": tenant_id, "site": site_id})
    require(await cursor.fetchone(), f"site {site_id}")
    return await get(connection, tenant_id, site_id)


def _parameters(tenant_id: str, site: Site, context: ChangeContext) -> dict[str, Any]:
    return {"tenant": tenant_id, "site": site.site_id, **_state(site, FIELDS), "now": context.now}


def _entry(context: ChangeContext, verb: str, tenant_id: str, before: Site | None, after: Site | None) -> Entry:
    """Return the audit row: the fields that differ, before and after; all fields of a new or deleted site."""
    named = before or after
    assert named is not None, "a change has a side"  # noqa: S101 - narrows the type
    both = before is not None and after is not None
    fields = [name for name in FIELDS if not both or getattr(before, name) != getattr(after, name)]
    old, new = (None if side is None else _state(side, fields) for side in (before, after))
    return Entry(context.actor, f"site.{verb}", "site", named.site_id, tenant_id, old, new)


def _state(site: Site, fields: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(site, name) for name in fields}


def _placed(row: tuple[Any, ...]) -> TenantSite:
    tenant_id, site_id, name, own_zone, tenant_zone, lat, lng, version, devices = row
    return TenantSite(tenant_id, Site(site_id, name, own_zone, lat, lng), own_zone or tenant_zone, devices, version)
