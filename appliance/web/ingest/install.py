"""Installs HTTP ingest."""

from appliance.web.ingest import api
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes of HTTP ingest."""
    mount.add(api.blueprint(mount.platform, mount.ports.ingest))
