"""Installs the audit: its page and its API."""

from appliance.web.audit import api, views
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the audit page and its API."""
    mount.add(views.blueprint(mount.renderer), api.blueprint(mount.platform))
