"""Rotate the credential of a device: asks when the new password takes effect, then shows the secrets once."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.devices.credentials.credential import Rotation
from appliance.devices.fleet import FleetDevice
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.views.secrets_page import secrets_page
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import device_of_path, to_device
from appliance.web.page.renderer import PageRenderer
from appliance.web.page.time_range import moment_of


def blueprint(renderer: PageRenderer, actions: DeviceActions, port: DevicesPort) -> Blueprint:
    """Return the routes of the question and of the rotation."""
    routes = Blueprint("device_rotate", __name__)
    access = renderer.platform.access

    async def rotation_page(
        member: FleetDevice,
        fault: Fault | None = None,
        given: Mapping[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        device = member.device
        return await renderer.page(
            "devices/rotate.html",
            status=status,
            member=member,
            fault=fault,
            given=given or {"when": "later", "at": ""},
            to=partial(to_device, viewer(), device.tenant_id, device.device_id),
        )

    @routes.get("/devices/<device_id>/rotate")
    @allow(ADMINS)
    async def ask_rotation(device_id: str) -> Response:
        async with access.reading() as connection:
            return await rotation_page(await fleet.get(connection, tenant_of(), device_of_path(device_id)))

    @routes.post("/devices/<device_id>/rotate")
    @allow(ADMINS)
    async def rotate(device_id: str) -> Response:
        fields = await forms.read()
        identity, tenant_id = device_of_path(device_id), tenant_of()
        async with access.reading() as connection:
            member = await fleet.get(connection, tenant_id, identity)
        try:
            created = await actions.rotate(tenant_id, identity, _rotation(fields))
        except (Invalid, Conflict) as error:
            status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
            given = {"when": fields.text("when"), "at": fields.text("at", most=64)}
            return await rotation_page(member, fault_of(error), given, status)
        return await secrets_page(renderer, port, created, f"New credential of {member.device.name or identity}")

    return routes


def _rotation(fields: forms.Fields) -> Rotation:
    """Return when the new password takes effect, as the form says. Raises Invalid, naming the field."""
    match fields.text("when"):
        case "now":
            return Rotation(now=True)
        case "at":
            text = fields.needed("at", "Choose when the new password takes effect.", most=64)
            return Rotation(moment_of(text, viewer().zone, "at"))
        case "later" | "":
            return Rotation()
    raise Invalid("Choose when the new password takes effect.", "when")
