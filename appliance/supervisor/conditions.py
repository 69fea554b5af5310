"""Alerts that no device's reading causes: what watches them is handed what the appliance knows of itself."""

from datetime import timedelta

from appliance.alerts.conditions.watcher import ConditionWatcher
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.storage import Storage


async def watch_conditions(base: Foundation, storage: Storage) -> None:
    """Start to open and close the alerts of conditions."""
    watcher = ConditionWatcher(
        storage.pool,
        base.clock,
        grace=base.grace,
        reopen_after=timedelta(seconds=base.config.alerts.reopen_after),
    )
    await base.tree.start("alert conditions", watcher.run)
