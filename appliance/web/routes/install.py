"""Installs routes: their API."""

from appliance.web.mount import Mount
from appliance.web.routes import api
from appliance.web.routes.actions import RouteActions


def install(mount: Mount) -> None:
    """Install the operations."""
    mount.add(api.blueprint(RouteActions(mount.platform)))
