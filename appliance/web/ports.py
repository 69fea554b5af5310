"""The ports of the dashboard, one a concept: what it needs from the rest of the process."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.people.signin import SignIn
from appliance.web.alerts.port import AlertsPort
from appliance.web.devices.port import DevicesPort
from appliance.web.ingest.port import IngestPort
from appliance.web.integrations.port import IntegrationsPort
from appliance.web.page.failures import BrokerQueue
from appliance.web.quarantine.port import QuarantinePort
from appliance.web.system.port import SystemPort
from appliance.web.tenants.port import TenantsPort


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that the supervisor hands in beside the platform."""

    sign_in: SignIn
    ingest: IngestPort
    devices: DevicesPort
    quarantine: QuarantinePort
    alerts: AlertsPort
    integrations: IntegrationsPort
    system: SystemPort
    tenants: TenantsPort
    metrics_text: Callable[[], bytes]
    """All metrics in the Prometheus text format, for /metrics."""
    broker_queue: Callable[[], BrokerQueue | None]
    """For the page about an unreachable database; None until the broker has reported it."""
