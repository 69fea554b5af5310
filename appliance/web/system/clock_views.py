"""The question whether the machine's clock is right, and its answer."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.errors import Conflict
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.system.clock import ClockActions, difference

ADDRESS = "/system/clock"


def blueprint(renderer: PageRenderer, actions: ClockActions) -> Blueprint:
    """Return the routes of the page."""
    routes = Blueprint("clock", __name__)

    async def page(fault: Fault | None = None) -> Response:
        clock = actions.view()
        return await renderer.page(
            "system/confirm-clock.html",
            status=HTTPStatus.CONFLICT if fault else HTTPStatus.OK,
            clock=clock,
            off=difference(clock),
            fault=fault,
        )

    @routes.get(ADDRESS)
    @allow(OPERATORS)
    async def question() -> Response:
        return await page()

    @routes.post(ADDRESS)
    @allow(OPERATORS)
    async def confirm() -> Response:
        fields = await forms.read()
        try:
            await actions.confirm(fields.number("shown", least=0, most=1e12))
        except Conflict as error:
            return await page(fault_of(error))
        return see_other("/system?done=clock")

    return routes
