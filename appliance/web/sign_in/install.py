"""Installs the pages before the sign-in, and the set-up of an appliance that nobody has set up yet."""

from appliance.web.mount import Mount
from appliance.web.sign_in import set_up, views
from appliance.web.sign_in.views import SignInPages


def install(mount: Mount) -> None:
    """Install the pages."""
    sign_in = mount.ports.sign_in
    pages = SignInPages(mount.platform, mount.renderer.templates)
    mount.add(
        views.blueprint(mount.platform, sign_in, pages),
        set_up.blueprint(mount.renderer, pages, sign_in, mount.ports.devices.listener),
    )
