"""The timer of silent devices: started once it is recorded when this appliance listens."""

from appliance.alerts.silence.site import SitePolicy
from appliance.alerts.silence.timer import SilencePolicy, SilenceTimer
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.storage import Storage


async def start_silence(base: Foundation, storage: Storage) -> None:
    """Start judging who is silent."""
    alerts = base.config.alerts
    site = SitePolicy(alerts.site_silent_devices, alerts.site_silent_share)
    policy = SilencePolicy(site, alerts.reopen_after, base.grace)
    await base.tree.start("silence", SilenceTimer(storage.pool, base.clock, policy).run)
