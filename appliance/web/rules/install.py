"""Installs alert rules: their API."""

from appliance.web.mount import Mount
from appliance.web.rules import api
from appliance.web.rules.actions import RuleActions


def install(mount: Mount) -> None:
    """Install the routes."""
    mount.add(api.blueprint(RuleActions(mount.platform)))
