"""Routes as values, for tests that need no database."""

from typing import Any
from uuid import UUID, uuid4

from appliance.delivery.routes.matching import Subject
from appliance.delivery.routes.route import DeliverOn, Route
from appliance.severity import Severity
from tests.support.alerts import OPENED_AT

EVERYTHING = Route(
    tenant_id="acme",
    route_id=UUID(int=1),
    name="Everything",
    enabled=True,
    integration_id=UUID(int=2),
    severities=tuple(Severity),
    alert_types=(),
    site_ids=(),
    tags=(),
    device_prefixes=(),
    deliver_on=(DeliverOn.OPEN, DeliverOn.CLOSED),
    priority=100,
    stop=False,
    delay_seconds=0,
    remind_minutes=0,
    throttle_seconds=0,
    burst=10,
    quiet=None,
    version=1,
    created_at=OPENED_AT,
    updated_at=OPENED_AT,
)


def route(**fields: Any) -> Route:
    """Return a route of its own id that takes everything but for ``fields``."""
    values = {name: getattr(EVERYTHING, name) for name in Route.__slots__}
    return Route(**(values | {"route_id": uuid4()} | fields))


def subject(**fields: Any) -> Subject:
    """Return an alert of high severity about a device of a site."""
    values = {
        "severity": Severity.HIGH,
        "alert_type": "THRESHOLD",
        "site_id": "depot",
        "device_id": "fridge-1",
        "tags": ("cold", "food"),
    }
    return Subject(**(values | fields))
