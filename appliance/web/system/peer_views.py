"""The pages that remove an appliance from the database: the question with its effect, and the removal."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.errors import Conflict
from appliance.peers.store import Peer
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.system.peers import PeerActions


def blueprint(renderer: PageRenderer, actions: PeerActions) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("peers", __name__)

    async def question(peer: Peer, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK) -> Response:
        return await renderer.page("system/remove-peer.html", status=status, peer=peer, fault=fault)

    @routes.get("/system/peers/<instance>/remove")
    @allow(OPERATORS)
    async def ask(instance: str) -> Response:
        return await question(await actions.get(instance))

    @routes.post("/system/peers/<instance>/remove")
    @allow(OPERATORS)
    async def remove(instance: str) -> Response:
        peer = await actions.get(instance)
        try:
            await actions.remove(instance)
        except Conflict as error:
            return await question(peer, fault_of(error), HTTPStatus.CONFLICT)
        return see_other("/system?done=removed")

    return routes
