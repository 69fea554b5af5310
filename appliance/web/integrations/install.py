"""Installs integrations: their API."""

from appliance.web.integrations import api
from appliance.web.integrations.actions import IntegrationActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(api.blueprint(IntegrationActions(mount.platform, mount.ports.integrations)))
