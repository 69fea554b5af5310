"""Installs people: users, the viewer's own profile, and their API."""

from appliance.web.mount import Mount
from appliance.web.people import account_api, api, me_api, profile, views
from appliance.web.people.account_actions import AccountActions
from appliance.web.people.actions import PeopleActions


def install(mount: Mount) -> None:
    """Install the pages of users and of the profile, and their APIs."""
    account = AccountActions(mount.platform, mount.ports.sign_in)
    actions = PeopleActions(mount.platform, account.confirm_in_browser)
    mount.add(
        views.blueprint(mount.renderer, actions),
        profile.blueprint(mount.renderer, account),
        api.blueprint(mount.platform, actions),
        account_api.blueprint(account),
        me_api.blueprint(account, mount.platform.api_limits),
    )
