"""The checks over a batch without a database: a registry in which everyone is known, and messages to admit."""

from typing import Any

from appliance.config import Ingest, Retention
from appliance.devices.live.state import DeviceState
from appliance.devices.registry.cache import FOREVER, AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.ingest.admission import Admission
from appliance.ingest.batch import Batch
from appliance.ingest.charging import Charging
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Reason, Refusal
from tests.support.limiter import limiter_of
from tests.support.pipeline import Message

NOW = 1_764_000_000_000_000
"""Microseconds since 1970."""
SECOND = 1_000_000
TOPIC = "tenant/acme/device/d-1/telemetry"
KEY = ("acme", "d-1")
"""Of the device of TOPIC."""


class Everyone:
    """A registry in which each device of each tenant is registered and ACTIVE, unless a test says otherwise."""

    def __init__(self) -> None:
        self.known_tenant = TenantRules(known=True, active=True)
        self.statuses: dict[DeviceKey, AdmissionStatus | None] = {}

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        del now
        if key not in self.statuses:
            self.statuses[key] = self.status(key)
        return self.statuses[key]

    def tenant(self, tenant_id: str) -> TenantRules | None:
        return None if tenant_id == "unheard-of" else self.known_tenant

    def status(self, key: DeviceKey, refusal: Refusal | None = None) -> AdmissionStatus:
        status = AdmissionStatus(self.known_tenant, refusal, FOREVER, registered=True)
        status.state = DeviceState(*key)
        return status


def admission(
    registry: Everyone | None = None,
    limiter: Limiter | None = None,
    *,
    offset: float | None = None,
    kept_since: KeptSince | None = None,
    **ingest: Any,
) -> Admission:
    """Return checks over a registry in which everyone is known, and limits that nobody reaches."""
    return Admission(
        Ingest(**ingest),
        kept_since or KeptSince(Retention().days),
        registry or Everyone(),
        Charging(limiter or limiter_of(rate=1e6, burst=10_000_000, max_tracked_devices=1_000_000)),
        lambda: offset,
    )


def admit(*messages: tuple[str, bytes], by: Admission | None = None, at: int = NOW) -> Batch:
    """Admit messages, each a topic and a payload, received at ``at``."""
    return (by or admission()).admit([Message(*message) for message in messages], at, at / SECOND)


def only_refusal(batch: Batch) -> Reason:
    """Return why the only message of a batch was refused."""
    assert (len(batch.refused), batch.readings) == (1, [])
    return batch.refused[0].reason
