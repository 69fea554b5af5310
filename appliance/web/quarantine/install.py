"""Installs the quarantine: its pages with their live parts, and its API."""

from appliance.web.mount import Mount
from appliance.web.quarantine import api, decisions, live, views
from appliance.web.quarantine.actions import QuarantineActions


def install(mount: Mount) -> None:
    """Install the routes."""
    port = mount.ports.quarantine
    actions = QuarantineActions(mount.platform, port)
    mount.add(
        views.blueprint(mount.renderer, actions, own_broker=port.own_broker),
        decisions.blueprint(mount.renderer, actions),
        api.blueprint(mount.platform, actions),
    )
    live.install(mount.renderer, actions)
