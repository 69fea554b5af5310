"""Installs System: its pages, the live parts of these, and its API."""

from appliance.web.mount import Mount
from appliance.web.system import api, views
from appliance.web.system.reader import SystemReader


def install(mount: Mount) -> None:
    """Install the routes."""
    port = mount.ports.system
    reader = SystemReader(mount.platform, port.snapshot)
    mount.add(
        views.blueprint(mount.renderer, reader, port.snapshot),
        api.blueprint(mount.platform, reader, port),
    )
