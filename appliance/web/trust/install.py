"""Installs the CA's download and the page "Trust this appliance"."""

from appliance.web.mount import Mount
from appliance.web.trust import views


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(views.blueprint(mount.platform, mount.renderer.templates, mount.ports.devices.listener))
