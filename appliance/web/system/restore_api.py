"""The API of notices held since a restore: the confirmation that the old machine is off."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.web.access.auth import OPERATORS, allow
from appliance.web.openapi.describe import answer, describe
from appliance.web.system.restores import RestoreActions, RestoreConfirmed


def blueprint(actions: RestoreActions) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("restore_api", __name__)

    @routes.post("/operator/system/restore/confirm")
    @allow(OPERATORS)
    @describe(
        "Confirm that the machine of the backup is off: notices are sent again",
        answers={HTTPStatus.OK: RestoreConfirmed},
    )
    async def confirm() -> Response:
        return answer(await actions.confirm())

    return routes
