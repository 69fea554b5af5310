"""A bug on demand: the failpoint ``in_a_check`` puts it between admission and the registry.

A bug in a check refuses the message that meets it (INTERNAL_ERROR) and nothing else; this is there to show it.
"""

from appliance.devices.registry.cache import AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.failpoints import FAULTY_DEVICE, IN_A_CHECK, Failpoints
from appliance.ingest.admission import Knows


class FailingCheck:
    """Knows what ``registry`` knows, and fails for one device."""

    def __init__(self, registry: Knows) -> None:
        self._registry = registry

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """See :class:`Knows`. Raises RuntimeError for FAULTY_DEVICE of any tenant."""
        if key[1] == FAULTY_DEVICE:
            raise RuntimeError(f"the failpoint {IN_A_CHECK}")
        return self._registry.get(key, now)

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """See :class:`Knows`."""
        return self._registry.tenant(tenant_id)


def knowledge(registry: Knows, failpoint: Failpoints) -> Knows:
    """Return what admission asks: the registry itself, unless the failpoint is set."""
    return FailingCheck(registry) if failpoint.name == IN_A_CHECK else registry
