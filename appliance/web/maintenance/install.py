"""Installs maintenance windows: their pages and their API."""

from appliance.web.maintenance import api, form_views, live, views
from appliance.web.maintenance.actions import MaintenanceActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    windows = MaintenanceActions(mount.platform)
    live.install(mount.renderer, windows)
    mount.add(
        views.blueprint(mount.renderer, windows),
        form_views.blueprint(mount.renderer, windows),
        api.blueprint(mount.platform, windows),
    )
