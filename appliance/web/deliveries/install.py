"""Installs deliveries: their API."""

from appliance.web.deliveries import api
from appliance.web.deliveries.actions import DeliveryActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(api.blueprint(mount.platform, DeliveryActions(mount.platform.access)))
