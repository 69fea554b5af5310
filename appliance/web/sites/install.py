"""Installs sites: their pages and their API."""

from appliance.web.mount import Mount
from appliance.web.sites import api, views
from appliance.web.sites.actions import site_collection


def install(mount: Mount) -> None:
    """Install the routes."""
    sites = site_collection(mount.platform)
    mount.add(views.blueprint(mount.renderer, sites), api.blueprint(sites))
