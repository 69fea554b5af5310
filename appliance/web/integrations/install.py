"""Installs integrations: their pages and their API."""

from appliance.web.integrations import api, live, views
from appliance.web.integrations.actions import IntegrationActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    integrations = IntegrationActions(mount.platform, mount.ports.integrations)
    live.install(mount.renderer, integrations)
    mount.add(views.blueprint(mount.renderer, integrations), api.blueprint(integrations))
