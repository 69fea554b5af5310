"""Installs subscriptions: the pages of customers, operators' forms of sale, and the API."""

from appliance.web.mount import Mount
from appliance.web.subscriptions import api, history_api, list_views, live, renewal_api, renewal_views, views
from appliance.web.subscriptions.actions import SubscriptionActions
from appliance.web.subscriptions.list_views import SubscriptionPages
from appliance.web.subscriptions.renewal_actions import RenewalActions
from appliance.web.subscriptions.renewal_views import RenewalPages
from appliance.web.tenants.actions import TenantActions


def install(mount: Mount) -> None:
    """Install the pages of subscriptions and their API."""
    actions = SubscriptionActions(mount.platform)
    pages = SubscriptionPages(mount.renderer)
    renewals = RenewalActions(mount.platform)
    mount.add(
        list_views.blueprint(pages),
        views.blueprint(mount.renderer, actions, TenantActions(mount.platform)),
        api.blueprint(mount.platform, actions),
        history_api.blueprint(mount.platform),
        renewal_api.blueprint(renewals),
        renewal_views.blueprint(RenewalPages(pages, renewals, mount.ports.quarantine.previewer)),
    )
    mount.renderer.live_pages.add_each(
        list_views.PAGE, live.LiveSubscriptions(mount.renderer, pages).listed, shared_for=live.SHARED_SECONDS
    )
