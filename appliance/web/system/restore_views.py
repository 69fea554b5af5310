"""The question whether the machine of the backup is off, and its answer: notices are sent again."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.errors import Conflict
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.system.restores import RestoreActions

ADDRESS = "/system/restore"


def blueprint(renderer: PageRenderer, actions: RestoreActions) -> Blueprint:
    """Return the routes of the page."""
    routes = Blueprint("restore", __name__)

    async def page(fault: Fault | None = None) -> Response:
        status = HTTPStatus.CONFLICT if fault else HTTPStatus.OK
        return await renderer.page(
            "system/confirm-restore.html", status=status, restore=await actions.view(), fault=fault
        )

    @routes.get(ADDRESS)
    @allow(OPERATORS)
    async def question() -> Response:
        return await page()

    @routes.post(ADDRESS)
    @allow(OPERATORS)
    async def confirm() -> Response:
        try:
            await actions.confirm()
        except Conflict as error:
            return await page(fault_of(error))
        return see_other("/system?done=restore")

    return routes
