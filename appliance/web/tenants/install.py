"""Installs tenants: operators' pages and the API."""

from appliance.web.mount import Mount
from appliance.web.tenants import api, lifecycle, views
from appliance.web.tenants.actions import TenantActions


def install(mount: Mount) -> None:
    """Install the pages of tenants and their API."""
    actions = TenantActions(mount.platform)
    mount.add(
        views.blueprint(mount.renderer, actions),
        lifecycle.blueprint(mount.renderer, actions),
        api.blueprint(mount.platform, actions),
    )
