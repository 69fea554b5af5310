"""The actions on metrics, for pages and the API."""

from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.devices.metrics.store import TenantMetric
from appliance.web.page.collection import Collection
from appliance.web.page.paths import metric_of_path
from appliance.web.platform import Platform

MetricCollection = Collection[Metric, TenantMetric]


def metric_collection(platform: Platform) -> MetricCollection:
    """Return the collection of metrics."""
    return Collection(platform, store, id_of_path=metric_of_path, id_of=lambda kept: kept.metric.name)
