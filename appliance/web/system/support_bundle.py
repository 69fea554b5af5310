"""The bundle for support: the button on System, and the same over the API."""

from datetime import UTC, datetime
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.web.access.auth import OPERATORS, allow
from appliance.web.openapi.describe import describe
from appliance.web.platform import Platform
from appliance.web.system.port import SystemPort

BUNDLE_TYPE = "application/zip"


def blueprint(platform: Platform, port: SystemPort) -> Blueprint:
    """Return the route of the bundle."""
    routes = Blueprint("support_bundle", __name__)

    @routes.get("/operator/system/support-bundle")
    @allow(OPERATORS)
    @describe(
        "Make the file for support, without secrets and messages",
        details="Answers 200 with a ZIP archive (`application/zip`), whose first file says what is in it and what is "
        "missing: the results of the doctor, settings, versions, services, sizes. Tenants, sites and devices "
        "have numbers.",
        answers={HTTPStatus.OK: None},
        download=BUNDLE_TYPE,
    )
    async def support_bundle() -> Response:
        at = datetime.fromtimestamp(platform.clock.now(), UTC)
        response = Response(await port.support_bundle(), content_type=BUNDLE_TYPE)
        response.headers["Content-Disposition"] = f'attachment; filename="support-{at:%Y%m%dT%H%M%SZ}.zip"'
        return response

    return routes
