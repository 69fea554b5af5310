"""``/customer/devices``: list, register, show, edit and delete devices."""

from dataclasses import replace
from http import HTTPStatus

import msgspec
from msgspec import UNSET
from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.devices.description import Description, OwnLimits, described
from appliance.devices.device import NewDevice
from appliance.devices.fleet import FleetDevice, FleetPosition
from appliance.errors import Invalid, Outdated
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import Access, tenant_of, tenants_shown
from appliance.web.devices import export
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.api.schemas import (
    BrokerAnswer,
    DeviceChange,
    DeviceCredential,
    DeviceErasure,
    DeviceNew,
    DeviceOut,
    DevicePage,
    secrets_of,
    shown,
)
from appliance.web.devices.query import DeviceQuery, filter_of
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import device_of_path
from appliance.web.platform import Platform


def blueprint(platform: Platform, actions: DeviceActions) -> Blueprint:
    """Return the routes of the list of devices and of one device."""
    routes = Blueprint("api_devices", __name__)
    _add_list(routes, platform)
    _add_create(routes, actions)
    _add_show(routes, platform.access)
    _add_change(routes, platform.access, actions)
    _add_delete(routes, actions)
    return routes


def _add_list(routes: Blueprint, platform: Platform) -> None:
    @routes.get("/customer/devices")
    @allow(READERS)
    @describe("List devices", query=DeviceQuery, answers={HTTPStatus.OK: DevicePage}, csv=True)
    async def list_devices() -> Response:
        asked = query(DeviceQuery)
        sort, down = asked.order()
        wanted = filter_of(asked, tenants_shown())
        if csv_export.asked_for():
            return export.answer(platform, viewer(), wanted, sort, down=down)
        async with platform.access.reading() as connection:
            after = cursor.read(asked.cursor, FleetPosition)
            page = await fleet.list_page(connection, wanted, sort=sort, down=down, limit=asked.limit, after=after)
        return answer(DevicePage([shown(member) for member in page.members], page.total, cursor.write(page.next)))


def _add_create(routes: Blueprint, actions: DeviceActions) -> None:
    @routes.post("/customer/devices")
    @allow(ADMINS)
    @describe("Register a device", body=DeviceNew, answers={HTTPStatus.CREATED: DeviceCredential})
    async def create() -> Response:
        new = await body(DeviceNew)
        created = await actions.create(tenant_of(), NewDevice(**msgspec.structs.asdict(new)))
        where = {"Location": f"/customer/devices/{new.device_id}"}
        return answer(secrets_of(created), HTTPStatus.CREATED, where)


def _add_show(routes: Blueprint, access: Access) -> None:
    @routes.get("/customer/devices/<device_id>")
    @allow(READERS)
    @describe("Show a device", answers={HTTPStatus.OK: DeviceOut})
    async def show(device_id: str) -> Response:
        async with access.reading() as connection:
            return answer(shown(await fleet.get(connection, tenant_of(), device_of_path(device_id))))


def _add_change(routes: Blueprint, access: Access, actions: DeviceActions) -> None:
    @routes.patch("/customer/devices/<device_id>")
    @allow(ADMINS)
    @describe("Update a device", body=DeviceChange, answers={HTTPStatus.OK: DeviceOut})
    async def change(device_id: str) -> Response:
        wanted = await body(DeviceChange)
        limited = wanted.rate is not UNSET or wanted.burst is not UNSET
        if limited and not viewer().is_operator:
            raise Invalid("Only operators can set limits.", "rate" if wanted.rate is not UNSET else "burst")
        tenant_id = tenant_of()
        async with access.reading() as connection:
            seen = await fleet.get(connection, tenant_id, device_of_path(device_id))
        if wanted.version not in (None, seen.version):
            raise Outdated(f"Device {device_id} was changed by someone else; read it again.")
        return answer(shown(await actions.describe(tenant_id, seen, *_changed(seen, wanted))))


def _add_delete(routes: Blueprint, actions: DeviceActions) -> None:
    @routes.delete("/customer/devices/<device_id>")
    @allow(ADMINS)
    @describe(
        "Delete a device",
        details="`history=keep` keeps its readings, `history=erase` erases them. One of the two is required.",
        query=DeviceErasure,
        answers={HTTPStatus.OK: BrokerAnswer},
    )
    async def delete(device_id: str) -> Response:
        history = query(DeviceErasure).history
        if history not in {"keep", "erase"}:
            raise Invalid("Give history=keep or history=erase.", "history")
        kept = history == "keep"
        return answer({"broker": await actions.delete(tenant_of(), device_of_path(device_id), keep_history=kept)})


def _changed(seen: FleetDevice, wanted: DeviceChange) -> tuple[Description, OwnLimits]:
    """Return the device's new description and limits; fields that are not given keep their values."""
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    stated = {name: given[name] for name in ("name", "place", "tags", "site_id", "interval") if name in given}
    limits = {name: given[name] for name in ("rate", "burst") if name in given}
    return replace(described(seen.device), **stated), replace(seen.limits, **limits)
