"""Installs alert rules: their pages and their API."""

from appliance.web.mount import Mount
from appliance.web.rules import api, editor, listing, preview_api
from appliance.web.rules.actions import RuleActions
from appliance.web.rules.previewer import Previewer


def install(mount: Mount) -> None:
    """Install the routes."""
    rules = RuleActions(mount.platform)
    previewer = Previewer(mount.platform.access)
    mount.add(listing.blueprint(mount.renderer, rules), editor.blueprint(mount.renderer, rules, previewer))
    mount.add(api.blueprint(rules), preview_api.blueprint(previewer))
