"""Installs tenants: operators' pages and the API."""

from appliance.web.mount import Mount
from appliance.web.tenants import api, archive_views, deletion_api, deletion_live, deletion_views, lifecycle, views
from appliance.web.tenants.actions import TenantActions
from appliance.web.tenants.deletions import DeletionActions


def install(mount: Mount) -> None:
    """Install the pages of tenants and their API."""
    actions, deletions = TenantActions(mount.platform), DeletionActions(mount.platform, mount.ports.tenants)
    mount.add(
        views.blueprint(mount.renderer, actions),
        lifecycle.blueprint(mount.renderer, actions),
        deletion_views.blueprint(mount.renderer, actions, deletions),
        api.blueprint(mount.platform, actions),
        deletion_api.blueprint(actions, deletions),
        archive_views.blueprint(mount.renderer),
    )
    deletion_live.install(mount.renderer, deletions)
