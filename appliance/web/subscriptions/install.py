"""Installs subscriptions: operators' pages and the API."""

from appliance.web.mount import Mount
from appliance.web.subscriptions import api, history_api, views
from appliance.web.subscriptions.actions import SubscriptionActions
from appliance.web.tenants.actions import TenantActions


def install(mount: Mount) -> None:
    """Install the pages of subscriptions and their API."""
    actions = SubscriptionActions(mount.platform)
    mount.add(
        views.blueprint(mount.renderer, actions, TenantActions(mount.platform)),
        api.blueprint(mount.platform, actions),
        history_api.blueprint(mount.platform),
    )
