"""Installs System: its pages, the live parts of these, and its API."""

from appliance.web.mount import Mount
from appliance.web.system import (
    api,
    backup_views,
    clock_views,
    peer_views,
    restore_api,
    restore_views,
    support_bundle,
    views,
)
from appliance.web.system.backups import BackupActions
from appliance.web.system.clock import ClockActions
from appliance.web.system.peers import PeerActions
from appliance.web.system.reader import SystemReader
from appliance.web.system.restores import RestoreActions


def install(mount: Mount) -> None:
    """Install the routes."""
    port = mount.ports.system
    reader = SystemReader(mount.platform, port.snapshot, port.clock)
    clock_actions = ClockActions(mount.platform, port.snapshot.instance, port.clock)
    peer_actions = PeerActions(mount.platform, reader)
    restore_actions = RestoreActions(mount.platform, reader.forget_restore)
    mount.add(
        views.blueprint(mount.renderer, reader, port.snapshot),
        clock_views.blueprint(mount.renderer, clock_actions),
        peer_views.blueprint(mount.renderer, peer_actions),
        restore_views.blueprint(mount.renderer, restore_actions),
        backup_views.blueprint(BackupActions(mount.platform, port.back_up)),
        api.blueprint(mount.platform, reader, port, clock_actions, peer_actions),
        restore_api.blueprint(restore_actions),
        support_bundle.blueprint(mount.platform, port),
    )
