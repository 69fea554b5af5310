"""What every stage of the start builds on."""

from dataclasses import dataclass
from datetime import timedelta

from appliance.backup.nightly import Nightly
from appliance.children.data_dir import DataDir
from appliance.config import Config
from appliance.disk.watch import DiskWatch
from appliance.failpoints import Failpoints
from appliance.metrics import Metrics
from appliance.renewals.policy import RenewalPolicy
from appliance.runtime.signals import StopSignal
from appliance.runtime.tree import Tree
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.service_time import TOLERANCE
from appliance.tls.certificates import Certificates


@dataclass(frozen=True, slots=True)
class Foundation:
    """The configuration, the data folder, the clocks, and the tree of services."""

    config: Config
    data: DataDir
    tree: Tree
    stop: StopSignal
    clock: ServiceClock
    metrics: Metrics
    failpoints: Failpoints
    disk: DiskWatch
    certificates: Certificates
    """Opened once the database has told what time it is."""
    backups: Nightly | None
    """None where no folder for nightly ones is configured."""

    @property
    def instance(self) -> str:
        """The id of this appliance on its database."""
        return self.data.instance.instance_id

    @property
    def skew(self) -> float:
        """Seconds by which a right time may lie ahead of service time: later ones were written by a wrong clock."""
        return max(self.config.ingest.max_clock_skew, TOLERANCE)

    @property
    def grace(self) -> timedelta:
        """How long a paid subscription goes on after its term."""
        return timedelta(days=self.config.subscriptions.grace_days)

    @property
    def renewals(self) -> RenewalPolicy:
        """What the configuration says of renewals."""
        configured = self.config.subscriptions
        return RenewalPolicy(self.grace, configured.renewal_opens_days, configured.plans)
