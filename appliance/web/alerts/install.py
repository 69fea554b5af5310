"""Installs alerts: their pages with their live parts, and their API."""

from datetime import timedelta

from appliance.web.alerts import api
from appliance.web.alerts.actions import AlertActions
from appliance.web.alerts.views import acknowledge, detail, listing, live, steps
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    port, renderer = mount.ports.alerts, mount.renderer
    actions, retention = AlertActions(mount.platform), timedelta(days=port.retention_days)
    mount.add(
        listing.blueprint(renderer, retention),
        detail.blueprint(renderer, retention),
        steps.blueprint(renderer, actions, port.reopen_after),
        api.blueprint(mount.platform, actions),
        acknowledge.blueprint(renderer, port.links, retention),
    )
    live.install(renderer, retention)
