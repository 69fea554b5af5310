"""Installs the Overview: its page and its live parts."""

from appliance.web.mount import Mount
from appliance.web.overview import views
from appliance.web.overview.query import OverviewQueries


def install(mount: Mount) -> None:
    """Install the routes."""
    queries = OverviewQueries(mount.platform.access, mount.platform.clock)
    mount.add(views.blueprint(mount.renderer, queries, mount.ports.devices.listener))
