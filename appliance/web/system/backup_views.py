"""The button and the operation that have a backup made now."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.errors import Conflict
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.openapi.describe import answer, describe
from appliance.web.page import forms
from appliance.web.page.renderer import see_other
from appliance.web.system.backups import BackupActions, BackupAsked


def blueprint(actions: BackupActions) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("backups", __name__)

    @routes.post("/system/backup")
    @allow(OPERATORS)
    async def press() -> Response:
        await forms.read()
        try:
            await actions.ask()
        except Conflict:  # one is made already, as the page says
            return see_other("/system")
        return see_other("/system?done=backup")

    @routes.post("/operator/system/backup")
    @allow(OPERATORS)
    @describe(
        "Have a backup made now, in the folder of nightly ones",
        answers={HTTPStatus.ACCEPTED: BackupAsked},
    )
    async def make() -> Response:
        return answer(await actions.ask(), HTTPStatus.ACCEPTED)

    return routes
