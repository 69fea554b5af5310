"""More: on a phone, the navigation entries that are not in the bar at the bottom."""

from quart import Blueprint, Response

from appliance.web.access.auth import ANYBODY_SIGNED_IN, allow
from appliance.web.page.renderer import PageRenderer


def blueprint(renderer: PageRenderer) -> Blueprint:
    """Return the route of the page."""
    routes = Blueprint("more", __name__)

    @routes.get("/more")
    @allow(ANYBODY_SIGNED_IN)
    async def page() -> Response:
        return await renderer.page("more.html")

    return routes
