"""Installs routes: their pages and their API."""

from appliance.web.integrations.actions import IntegrationActions
from appliance.web.mount import Mount
from appliance.web.routes import api, live, views
from appliance.web.routes.actions import RouteActions
from appliance.web.routes.page import RoutePages


def install(mount: Mount) -> None:
    """Install the operations and the pages."""
    routes = RouteActions(mount.platform)
    integrations = IntegrationActions(mount.platform, mount.ports.integrations)
    live.install(mount.renderer, integrations.senders)
    mount.add(
        views.blueprint(mount.renderer, RoutePages(mount.renderer, routes, integrations)),
        api.blueprint(routes),
    )
