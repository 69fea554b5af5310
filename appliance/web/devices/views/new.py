"""Add a device: a form, then its secrets, shown once."""

from collections.abc import Mapping
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.errors import Conflict, Invalid, NoCapacity, NotFound
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices import forms as device_forms
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.seat_choices import free_seats, seat_choices, subscriptions_of
from appliance.web.devices.views.secrets_page import secrets_page
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer


def blueprint(renderer: PageRenderer, actions: DeviceActions, port: DevicesPort) -> Blueprint:
    """Return the routes of the form."""
    routes = Blueprint("device_new", __name__)
    access = renderer.platform.access

    async def new_form(values: Mapping[str, str], fault: Fault | None, status: HTTPStatus) -> Response:
        tenant_id = tenant_of()
        async with access.reading() as connection:
            counts = await fleet.device_counts(connection, tenant_id)
            owned = await subscriptions_of(connection, tenant_id)
            seats = free_seats(owned, access.settled(), grace=renderer.platform.grace)
        return await renderer.page(
            "devices/new.html",
            status=status,
            given=values,
            fault=fault,
            labels=device_forms.LABELS,
            site_ids=[name for name in counts.sites if name],
            seats=seats,
            free=sum(max(0, choice.free) for choice in seats),
            seat_choices=seat_choices(seats),
            has_subscription=bool(owned),
            subscriptions_at=of_tenant("/subscriptions", viewer(), tenant_id)
            if owned
            else f"/tenants/{tenant_id}/subscriptions/+new",
            back=of_tenant("/devices", viewer(), tenant_id),
        )

    @routes.get("/devices/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        return await new_form({}, None, HTTPStatus.OK)

    @routes.post("/devices/+new")
    @allow(ADMINS)
    async def create() -> Response:
        fields = await forms.read()
        tenant_id = tenant_of()
        try:
            new = device_forms.new_device(fields)
            created = await actions.create(tenant_id, new)
        except Invalid as error:
            return await new_form(device_forms.given(fields), fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await new_form(device_forms.given(fields), fault_of(error, "device_id"), HTTPStatus.CONFLICT)
        except (NoCapacity, NotFound) as error:
            fault = fault_of(error, "subscription_id")
            return await new_form(device_forms.given(fields), fault, HTTPStatus.CONFLICT)
        return await secrets_page(renderer, port, created, f"{new.name or new.device_id} is added")

    return routes
