"""Installs deliveries: their page with its live parts, and their API."""

from appliance.web.deliveries import api, live, steps, views
from appliance.web.deliveries.actions import DeliveryActions
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    actions = DeliveryActions(mount.platform.access)
    mount.add(
        api.blueprint(mount.platform, actions),
        views.blueprint(mount.renderer),
        steps.blueprint(mount.renderer, actions),
    )
    live.install(mount.renderer)
