"""Installs maintenance windows: their pages and their API."""

from appliance.web.maintenance import api
from appliance.web.maintenance.actions import MaintenanceActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    windows = MaintenanceActions(mount.platform)
    mount.add(api.blueprint(mount.platform, windows))
