"""Reads the ids in addresses of tenants, subscriptions, devices, sites and metrics, and builds such addresses.

Text that is not a valid id raises NotFound, like an unknown id. No id has a plus, so ``/devices/+new`` is no device.
"""

from urllib.parse import urlencode

from appliance.db.require import require
from appliance.devices.metrics import metric
from appliance.devices.site_ids import mentioned_site
from appliance.devices.topics import valid_id
from appliance.web.access.auth import Viewer


def tenant_of_path(tenant_id: str) -> str:
    """Return the id of a tenant. Raises NotFound."""
    return require(tenant_id if valid_id(tenant_id) else None, "such tenant")


def subscription_of_path(subscription_id: str) -> str:
    """Return the id of a subscription. Raises NotFound."""
    return require(subscription_id if valid_id(subscription_id) else None, "such subscription")


def device_of_path(device_id: str) -> str:
    """Return the id of a device. Raises NotFound."""
    return require(device_id if valid_id(device_id) else None, "such device")


def site_of_path(site_id: str) -> str:
    """Return the id of a site; the name that a device gave leads to it, too."""
    return mentioned_site(site_id).site_id


def metric_of_path(name: str) -> str:
    """Return the name of a metric. Raises NotFound."""
    return require(name if metric.NAME.fullmatch(name) else None, "such metric")


def number_of_path(number: int, what: str) -> int:
    """Return the number of a thing with a serial number in Postgres. Raises NotFound."""
    return require(number if 0 < number < 2**63 else None, f"{what} {str(number)[:20]}")


def of_tenant(path: str, who: Viewer, tenant_id: str | None, **query: str) -> str:
    """Return the address of ``path`` for this viewer: operators' addresses name the tenant."""
    asked = query | ({"tenant": tenant_id} if who.is_operator and tenant_id is not None else {})
    return f"{path}?{urlencode(asked)}" if asked else path


def to_device(who: Viewer, tenant_id: str, device_id: str, part: str = "", **query: str) -> str:
    """Return the address of a device's page, or of ``part`` of it: ``edit``, ``messages``, a lifecycle step."""
    path = f"/devices/{device_id}" + (f"/{part}" if part else "")
    return of_tenant(path, who, tenant_id, **query)
