"""Delete a device: asks what happens to its readings, and for its id."""

from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.page import forms
from appliance.web.page.faults import Fault
from appliance.web.page.paths import device_of_path, of_tenant, to_device
from appliance.web.page.renderer import PageRenderer, see_other


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """Return the routes of the question and of the deletion."""
    routes = Blueprint("device_delete", __name__)
    access = renderer.platform.access

    async def deletion(device_id: str, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK) -> Response:
        async with access.reading() as connection:
            member = await fleet.get(connection, tenant_of(), device_of_path(device_id))
        to = partial(to_device, viewer(), tenant_of(), device_id)
        return await renderer.page("devices/delete.html", status=status, member=member, fault=fault, to=to)

    @routes.get("/devices/<device_id>/delete")
    @allow(ADMINS)
    async def ask_deletion(device_id: str) -> Response:
        return await deletion(device_id)

    @routes.post("/devices/<device_id>/delete")
    @allow(ADMINS)
    async def delete(device_id: str) -> Response:
        fields = await forms.read()
        identity, tenant_id = device_of_path(device_id), tenant_of()
        history = fields.text("history")
        if history not in {"keep", "erase"}:
            fault = ("history", "Choose what happens to its readings.")
            return await deletion(identity, fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        if fields.text("typed") != identity:
            return await deletion(
                identity, ("typed", f"Type {identity} exactly to confirm."), HTTPStatus.UNPROCESSABLE_ENTITY
            )
        await actions.delete(tenant_id, identity, keep_history=history == "keep")
        return see_other(of_tenant("/devices", viewer(), tenant_id, done="deleted"))

    return routes
