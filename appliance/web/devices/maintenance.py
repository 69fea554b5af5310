"""Whether a device is in maintenance now, as its page and the list say it."""

from dataclasses import dataclass

from appliance.devices.device import Device
from appliance.local_time import zone_of
from appliance.web.access.auth import Viewer
from appliance.web.maintenance import labels
from appliance.web.page.paths import of_tenant
from appliance.web.platform import Platform


@dataclass(frozen=True, slots=True)
class InMaintenance:
    """The maintenance window that covers a device."""

    title: str
    """Its name, and when it ends."""
    href: str


def in_maintenance(platform: Platform, device: Device, who: Viewer) -> InMaintenance | None:
    """Return the active window that covers a device, the one that ends last; ``maintenance.refresh`` comes before."""
    now = platform.clock.settled()
    active = platform.maintenance.covering(device.tenant_id, device.site_id, device.device_id, device.tags, now)
    if active is None:
        return None
    window = active.window
    until = labels.until(active.until, who.zone or zone_of(window.time_zone), now)
    href = of_tenant(f"/maintenance/{window.window_id}", who, device.tenant_id)
    return InMaintenance(f"{window.name}, until {until}", href)
