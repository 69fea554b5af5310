"""The list of metrics as a CSV file."""

from dataclasses import astuple
from typing import Any

from quart import Response

from appliance.devices.metrics.store import TenantMetric
from appliance.web.metrics.actions import MetricCollection

HEADS = ("tenant_id", "name", "label", "unit", "decimals", "usual_low", "usual_high")


def answer(metrics: MetricCollection) -> Response:
    """Return the download of the metrics that the viewer sees, or of those of ``?tenant=``."""
    return metrics.csv("metrics", HEADS, _cells)


def _cells(kept: TenantMetric) -> tuple[Any, ...]:
    return (kept.tenant_id, *astuple(kept.metric))
