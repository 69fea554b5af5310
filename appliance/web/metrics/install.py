"""Installs metrics: their pages and their API."""

from appliance.web.metrics import api, views
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(views.blueprint(mount.renderer), api.blueprint(mount.platform))
