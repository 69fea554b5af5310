"""Installs maintenance windows: their pages and their API."""

from appliance.web.maintenance import api, form_views, views
from appliance.web.maintenance.actions import MaintenanceActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    windows = MaintenanceActions(mount.platform)
    mount.add(
        views.blueprint(mount.renderer, windows),
        form_views.blueprint(mount.renderer, windows),
        api.blueprint(mount.platform, windows),
    )
