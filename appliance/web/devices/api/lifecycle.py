"""``/customer/devices/ID/...``: the lifecycle steps of a device, and its credential."""

from datetime import datetime
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.devices.credentials.credential import Rotation
from appliance.devices.device import Event
from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import Access, tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.api.schemas import (
    BrokerAnswer,
    DeviceCredential,
    DeviceDeactivation,
    DeviceMove,
    DeviceOut,
    DeviceRotation,
    DeviceSeat,
    secrets_of,
    shown,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe
from appliance.web.page.paths import device_of_path
from appliance.web.platform import Platform


def blueprint(platform: Platform, actions: DeviceActions) -> Blueprint:
    """Return the routes of the lifecycle steps and of the credential."""
    routes = Blueprint("api_device_life", __name__)
    _add_approval(routes, platform.access, actions)
    _add_seat_steps(routes, platform.access, actions)
    _add_credential(routes, actions)
    return routes


def _add_approval(routes: Blueprint, access: Access, actions: DeviceActions) -> None:
    @routes.post("/customer/devices/<device_id>/approve")
    @allow(ADMINS)
    @describe("Approve a pending device", body=DeviceSeat, answers={HTTPStatus.OK: DeviceOut})
    async def approve(device_id: str) -> Response:
        seat = (await body(DeviceSeat)).subscription_id
        await actions.step(tenant_of(), device_of_path(device_id), Event.APPROVE, seat)
        return await _shown(access, device_id)

    @routes.post("/customer/devices/<device_id>/reject")
    @allow(ADMINS)
    @describe("Reject a pending device", answers={HTTPStatus.OK: DeviceOut})
    async def reject(device_id: str) -> Response:
        await actions.step(tenant_of(), device_of_path(device_id), Event.REJECT)
        return await _shown(access, device_id)


def _add_seat_steps(routes: Blueprint, access: Access, actions: DeviceActions) -> None:
    @routes.post("/customer/devices/<device_id>/deactivate")
    @allow(ADMINS)
    @describe("Deactivate a device", body=DeviceDeactivation, answers={HTTPStatus.OK: DeviceOut})
    async def deactivate(device_id: str) -> Response:
        revoke = (await body(DeviceDeactivation)).revoke_credential
        await actions.deactivate(tenant_of(), device_of_path(device_id), revoke_credential=revoke)
        return await _shown(access, device_id)

    @routes.post("/customer/devices/<device_id>/reactivate")
    @allow(ADMINS)
    @describe("Reactivate a device", body=DeviceSeat, answers={HTTPStatus.OK: DeviceOut})
    async def reactivate(device_id: str) -> Response:
        seat = (await body(DeviceSeat)).subscription_id
        await actions.step(tenant_of(), device_of_path(device_id), Event.REACTIVATE, seat)
        return await _shown(access, device_id)

    @routes.post("/customer/devices/<device_id>/move")
    @allow(ADMINS)
    @describe("Move a device to another subscription", body=DeviceMove, answers={HTTPStatus.OK: DeviceOut})
    async def move(device_id: str) -> Response:
        seat = (await body(DeviceMove)).subscription_id
        await actions.step(tenant_of(), device_of_path(device_id), Event.MOVE, seat)
        return await _shown(access, device_id)


def _add_credential(routes: Blueprint, actions: DeviceActions) -> None:
    @routes.post("/customer/devices/<device_id>/rotate")
    @allow(ADMINS)
    @describe("Rotate the password and the token", body=DeviceRotation, answers={HTTPStatus.OK: DeviceCredential})
    async def rotate(device_id: str) -> Response:
        wanted = await body(DeviceRotation)
        rotation = rotation_of(wanted.at, now=wanted.now)
        return answer(secrets_of(await actions.rotate(tenant_of(), device_of_path(device_id), rotation)))

    @routes.post("/customer/devices/<device_id>/switch")
    @allow(ADMINS)
    @describe("Switch to the new password", answers={HTTPStatus.OK: BrokerAnswer})
    async def switch(device_id: str) -> Response:
        return answer({"broker": await actions.switch(tenant_of(), device_of_path(device_id))})

    @routes.post("/customer/devices/<device_id>/revoke")
    @allow(ADMINS)
    @describe("Revoke a device", answers={HTTPStatus.OK: BrokerAnswer})
    async def revoke(device_id: str) -> Response:
        return answer({"broker": await actions.revoke(tenant_of(), device_of_path(device_id))})


async def _shown(access: Access, device_id: str) -> Response:
    """Answer with the device as it is now."""
    async with access.reading() as connection:
        return answer(shown(await fleet.get(connection, tenant_of(), device_id)))


def rotation_of(at: datetime | None, *, now: bool) -> Rotation:
    """Return when a new password takes effect. Raises Invalid for both arguments, and for a time without an offset."""
    if at is not None and now:
        raise Invalid("Give now or at, not both.", "at")
    if at is not None and at.tzinfo is None:
        raise Invalid("Give the time with its offset, as in 2026-12-01T06:00:00+01:00.", "at")
    return Rotation(at, now=now)
