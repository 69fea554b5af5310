"""Words and query values of devices, for pages of every concept."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.devices.device import DeviceStatus
from appliance.devices.seats.imports import ImportOutcome

NONE = ".none"
"""The query value that selects devices without a site, or without a seat. No id begins with a dot."""

DEVICE_STATUSES: Mapping[DeviceStatus, str] = MappingProxyType(
    {
        DeviceStatus.PENDING: "Pending approval",
        DeviceStatus.ACTIVE: "Active",
        DeviceStatus.INACTIVE: "Inactive",
        DeviceStatus.REVOKED: "Revoked",
        DeviceStatus.DECOMMISSIONED: "Deleted",
    }
)

IMPORT_OUTCOMES: Mapping[ImportOutcome, str] = MappingProxyType(
    {
        ImportOutcome.CREATED: "New",
        ImportOutcome.UPDATED: "Updated",
        ImportOutcome.UNCHANGED: "Unchanged",
        ImportOutcome.NO_CAPACITY: "No free seat",
        ImportOutcome.REFUSED: "Rejected",
    }
)
