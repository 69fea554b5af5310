"""Ids that come in an address. What can be no id is not there, like one that nobody has: 404."""

from appliance.db.found import found
from appliance.devices import metric
from appliance.mqtt.topics import valid_id


def device_of_path(device_id: str) -> str:
    """The id of a device. Raises NotFound."""
    return found(device_id if valid_id(device_id) else None, "such device")


def site_of_path(site_id: str) -> str:
    """The id of a site. Raises NotFound."""
    return found(site_id if valid_id(site_id) else None, "such site")


def metric_of_path(name: str) -> str:
    """The name of a metric. Raises NotFound."""
    return found(name if metric.NAME.fullmatch(name) else None, "such metric")


def number_of_path(number: int, what: str) -> int:
    """The number of a thing that Postgres counts. Raises NotFound."""
    return found(number if 0 < number < 2**63 else None, f"{what} {str(number)[:20]}")
