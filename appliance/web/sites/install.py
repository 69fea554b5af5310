"""Installs sites: their pages and their API."""

from appliance.web.mount import Mount
from appliance.web.sites import api, views


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(views.blueprint(mount.renderer), api.blueprint(mount.platform))
