"""The kind ``no_data``: a device sends no reading, or none of a metric, for a while. A timer judges it, no reading."""

from collections.abc import Mapping
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.fields import Fields
from appliance.alerts.kinds.kind import Kind, KindName, Parameters

MONTH = 2_592_000
"""The longest silence, in seconds: 30 days."""


class NoDataParameters(Parameters, frozen=True, kw_only=True):
    """A silence."""

    metric: str | None = None
    """None: any reading ends the silence."""
    seconds: int | None = None
    """None, in the built-in rule alone: as long as it takes a device to turn OFFLINE."""


def parse(given: Mapping[str, Any]) -> NoDataParameters:
    """Return the parameters. Raises Invalid with the field."""
    fields = Fields(given, NoDataParameters.__struct_fields__)
    return NoDataParameters(metric=fields.optional_metric(), seconds=fields.optional_whole("seconds", MONTH, "seconds"))


def named(parameters: NoDataParameters) -> frozenset[str]:
    """Return the metric whose silence counts."""
    return frozenset() if parameters.metric is None else frozenset({parameters.metric})


NO_DATA = Kind(
    name=KindName.NO_DATA,
    alert_type=AlertType.NO_DATA,
    parse=parse,
    step=None,
    memory=None,
    refill=None,
    quiet=lambda _: None,
    named=named,
)
