"""Installs metrics: their pages and their API."""

from appliance.web.metrics import api, views
from appliance.web.metrics.actions import metric_collection
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    metrics = metric_collection(mount.platform)
    mount.add(views.blueprint(mount.renderer, metrics), api.blueprint(metrics))
