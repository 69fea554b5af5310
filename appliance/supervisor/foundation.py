"""What every stage of the start builds on."""

from dataclasses import dataclass
from datetime import timedelta

from appliance.children.data_dir import DataDir
from appliance.clock import Clock
from appliance.config import Config
from appliance.failpoints import Failpoints
from appliance.metrics import Metrics
from appliance.runtime.signals import StopSignal
from appliance.runtime.tree import Tree


@dataclass(frozen=True, slots=True)
class Foundation:
    """The configuration, the data folder, the clocks, and the tree of services."""

    config: Config
    data: DataDir
    tree: Tree
    stop: StopSignal
    clock: Clock
    metrics: Metrics
    failpoints: Failpoints

    @property
    def instance(self) -> str:
        """The id of this appliance on its database."""
        return self.data.instance.instance_id

    @property
    def grace(self) -> timedelta:
        """How long a paid subscription goes on after its term."""
        return timedelta(days=self.config.subscriptions.grace_days)
