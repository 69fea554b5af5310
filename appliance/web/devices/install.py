"""Installs devices: their pages with their live parts, and their API."""

from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.api import bulk, devices, telemetry
from appliance.web.devices.api import lifecycle as lifecycle_api
from appliance.web.devices.views import bulk as bulk_view
from appliance.web.devices.views import (
    credentials_file,
    delete,
    detail,
    edit,
    importing,
    lifecycle,
    listing,
    live_list,
    messages,
    new,
    rotate,
)
from appliance.web.mount import Mount


def install(mount: Mount) -> None:
    """Install the routes."""
    platform, renderer, port = mount.platform, mount.renderer, mount.ports.devices
    actions = DeviceActions(platform)
    live_list.install(renderer)
    mount.add(
        listing.blueprint(renderer, port),
        bulk_view.blueprint(renderer, actions),
        new.blueprint(renderer, actions, port),
        importing.blueprint(renderer, actions),
        credentials_file.blueprint(platform),
        detail.blueprint(renderer, port),
        messages.blueprint(renderer),
        edit.blueprint(renderer, actions),
        lifecycle.blueprint(renderer, actions),
        rotate.blueprint(renderer, actions, port),
        delete.blueprint(renderer, actions),
        devices.blueprint(platform, actions),
        lifecycle_api.blueprint(platform, actions),
        bulk.blueprint(actions),
        telemetry.blueprint(platform, port.retention_days),
    )
