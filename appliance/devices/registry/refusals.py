"""Why messages of a device are not accepted, by what is known of the device alone."""

from collections.abc import Mapping

from appliance.devices.device import Device, DeviceStatus
from appliance.reading import Reason, Refusal

TOO_LATE = Refusal(Reason.UNREGISTERED_DEVICE, "the device is new and could not be registered in time; replay it later")

REFUSED_STATUSES: Mapping[DeviceStatus, Refusal] = {
    DeviceStatus.PENDING: Refusal(Reason.PENDING_APPROVAL, "the device waits for approval"),
    DeviceStatus.INACTIVE: Refusal(Reason.DEVICE_INACTIVE, "the device is deactivated"),
    DeviceStatus.REVOKED: Refusal(Reason.DEVICE_REVOKED, "the device is revoked"),
    DeviceStatus.DECOMMISSIONED: Refusal(Reason.DEVICE_DECOMMISSIONED, "the device was deleted"),
}


def refusal_by_status(device: Device) -> Device | Refusal:
    """Return the verdict on a registered device."""
    return REFUSED_STATUSES.get(device.status, device)
