"""``/customer/devices/bulk`` and ``/import``: many devices in one call."""

from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.api.schemas import (
    DeviceImport,
    DeviceImportQuery,
    DeviceStepAnswer,
    DeviceSteps,
    import_of,
    step_answer,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query


def blueprint(actions: DeviceActions) -> Blueprint:
    """Return the routes of changes to many devices."""
    routes = Blueprint("api_device_many", __name__)

    @routes.post("/customer/devices/bulk")
    @allow(ADMINS)
    @describe("Apply one action to many devices", body=DeviceSteps, answers={HTTPStatus.OK: list[DeviceStepAnswer]})
    async def step_many() -> Response:
        wanted = await body(DeviceSteps)
        answers = await actions.step_many(tenant_of(), wanted.devices, wanted.step, wanted.subscription_id)
        return answer([step_answer(one) for one in answers])

    @routes.post("/customer/devices/import")
    @allow(ADMINS)
    @describe(
        "Register the devices of a CSV file",
        details="Columns: device_id, name, site_id, place, tags (separated by |), subscription_id, interval.",
        query=DeviceImportQuery,
        bodies={"text/csv": {"type": "string"}},
        answers={HTTPStatus.OK: DeviceImport},
    )
    async def import_devices() -> Response:
        asked = query(DeviceImportQuery)
        if request.mimetype != "text/csv":
            raise Invalid("Send the file itself, with Content-Type text/csv.")
        data: bytes = await request.get_data(as_text=False)  # type: ignore[assignment] # not as text
        imported = await actions.import_csv(
            tenant_of(), data, dry_run=asked.dry_run, with_credentials=asked.credentials
        )
        return answer(import_of(imported, dry_run=asked.dry_run))

    return routes
