"""Installs alerts: the API."""

from appliance.web.alerts import api
from appliance.web.alerts.actions import AlertActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    actions = AlertActions(mount.platform)
    mount.add(api.blueprint(mount.platform, actions))
