"""Edit a device: its name, place, tags, site and interval; operators also set its limits."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.devices.fleet import FleetDevice
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices import forms as device_forms
from appliance.web.devices.actions import DeviceActions
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import device_of_path, to_device
from appliance.web.page.renderer import PageRenderer, see_other


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """Return the routes of the form."""
    routes = Blueprint("device_edit", __name__)
    access = renderer.platform.access

    async def edit_form(
        member: FleetDevice, values: Mapping[str, str], fault: Fault | None, status: HTTPStatus, version: str
    ) -> Response:
        device = member.device
        async with access.reading() as connection:
            counts = await fleet.device_counts(connection, device.tenant_id)
        return await renderer.page(
            "devices/edit.html",
            status=status,
            member=member,
            given=values,
            fault=fault,
            labels=device_forms.LABELS,
            version=version,
            site_ids=[name for name in counts.sites if name],
            limits=viewer().is_operator,
            to=partial(to_device, viewer(), device.tenant_id, device.device_id),
        )

    async def seen(device_id: str) -> FleetDevice:
        async with access.reading() as connection:
            return await fleet.get(connection, tenant_of(), device_of_path(device_id))

    @routes.get("/devices/<device_id>/edit")
    @allow(ADMINS)
    async def show_edit(device_id: str) -> Response:
        member = await seen(device_id)
        version = member.version.isoformat()
        return await edit_form(member, device_forms.given_of(member), None, HTTPStatus.OK, version)

    @routes.post("/devices/<device_id>/edit")
    @allow(ADMINS)
    async def edit(device_id: str) -> Response:
        fields = await forms.read()
        member = await seen(device_id)
        try:
            started = forms.version(fields)
            if started not in (None, member.version):
                raise Conflict(
                    "The device was changed by someone else. Your changes are below; save again to keep them."
                )
            limits = device_forms.own_limits(fields) if viewer().is_operator else None
            await actions.describe(tenant_of(), member, device_forms.description(fields), limits)
        except (Invalid, Conflict) as error:
            status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
            values, version = device_forms.given(fields), member.version.isoformat()
            return await edit_form(member, values, fault_of(error), status, version)
        return see_other(to_device(viewer(), tenant_of(), device_id, done="edited"))

    return routes
